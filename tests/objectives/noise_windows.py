"""A small world model of every kind that ``LatentDynamics`` trains, and windows of noise for it."""

import copy

import torch

from worldjepa.model.action_predictor import ActionPredictor
from worldjepa.model.action_stats import ActionStats
from worldjepa.model.encoder import VideoEncoder
from worldjepa.model.frozen import FrozenEncoder
from worldjepa.model.heads import PixelHead, ScalarHead, VectorHead
from worldjepa.model.projector import Projector
from worldjepa.model.world_model import WorldModel
from worldjepa.types import Batch

HEADS = ("reward", "termination", "proprioception", "pixels")
PLAIN = {"prediction": 1.0, "rollout": 1.0}


def world(*, target="ema", pooled=False, frozen=False, heads=(), latent_norm="layer", proprioception=0):
    """Build a world model over 2 x 2 patches (or one pooled latent), actions of 2 numbers in blocks of 2."""
    torch.manual_seed(0)
    projector = Projector(dim=24, num_tokens=4, latent_dim=24, hidden_dim=32) if pooled else None
    settings = {
        "dim": 24,
        "depth": 1,
        "num_heads": 2,
        "patch_size": 8,
        "tubelet_size": 1,
        "attention": "step",
    }
    encoder = VideoEncoder(**settings, projector=projector)
    grid = encoder.latent_grid(16, 16)
    tokens = grid[0] * grid[1]
    built = {
        "reward": ScalarHead(latent_dim=24, num_tokens=tokens),
        "termination": ScalarHead(latent_dim=24, num_tokens=tokens),
        "proprioception": VectorHead(latent_dim=24, num_tokens=tokens, out_dim=3),
        "pixels": PixelHead(latent_dim=24, grid=grid, image_size=16),
    }
    other = None
    if target == "ema" and not frozen:
        other = copy.deepcopy(encoder)
        for parameter in other.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
    stats = ActionStats(2)
    stats.set(torch.tensor([0.5, 0.0]), torch.tensor([2.0, 1.0]))
    return WorldModel(
        encoder=FrozenEncoder(encoder) if frozen else encoder,
        target_encoder=other,
        predictor=ActionPredictor(
            latent_dim=24,
            action_dim=4,
            grid=grid,
            dim=24,
            depth=2,
            num_heads=2,
            proprioception_dim=proprioception,
        ),
        heads={name: built[name] for name in heads},
        action_stats=stats,
        action_block=2,
        image_size=16,
        latent_norm=latent_norm,
    ).train()


def windows(rows=4, steps=4, seed=4):
    draw = torch.Generator().manual_seed(seed)
    return Batch(
        frames=torch.randint(0, 256, (rows, steps, 3, 16, 16), generator=draw, dtype=torch.uint8),
        actions=torch.randn(rows, steps - 1, 4, generator=draw),
        rewards=torch.randn(rows, steps - 1, generator=draw),
        terminated=torch.rand(rows, steps - 1, generator=draw) < 0.3,
        proprioception=torch.randn(rows, steps, 3, generator=draw),
    )
