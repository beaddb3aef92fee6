"""Small world models with heads, and starts, for tests of imagination."""

import torch
from gymnasium import spaces

from tests.model.worlds import inputs, redrawn, world
from worldjepa.data.episodes.action_spec import action_spec
from worldjepa.imagination import Starts
from worldjepa.model.heads import ScalarHead

SPEC = action_spec(spaces.Box(-1, 1, (2,)))


def dreaming(*, heads=("reward",), grid=(2, 2), dtype=torch.float64, seed=0, **predictor):
    """Return a model over 2 x 2 tokens of width 12, blocks of two actions of two numbers."""
    model = world(grid=grid, dtype=dtype, **predictor)
    if seed:
        redrawn(model.predictor, seed=seed).to(dtype)
    for name in heads:
        head = ScalarHead(latent_dim=12, num_tokens=grid[0] * grid[1], hidden_dim=16)
        model.heads[name] = redrawn(head, seed=len(name)).to(dtype)
    model.action_block = 2
    return model.eval()


def some_starts(model, *, n=7, t=3, spec=SPEC):
    latents, _, past = inputs(model, b=n, t=t)
    return Starts(latents, spec, past if t > 1 else None)
