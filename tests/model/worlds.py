"""Small world models with redrawn parameters, and the slow reference that rollouts are compared with."""

import pytest
import torch

from worldjepa.model.action_predictor import ActionPredictor
from worldjepa.model.encoder import VideoEncoder, normalise_latents
from worldjepa.model.world_model import WorldModel

CONDITIONS = pytest.mark.parametrize("conditioning", ["adaln", "tokens"])


def redrawn(module, std=0.3, seed=0):
    """Return ``module`` with every parameter drawn anew, so that no branch is gated shut."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        parameter.data.copy_(std * torch.randn(parameter.shape, generator=generator))
    return module.eval()


def world(*, grid=(2, 2), dtype=torch.float64, depth=3, dim=24, std=0.3, **predictor):
    """Build a world model of ``grid`` patches of 8 pixels, latents 12 wide, action blocks 4 wide."""
    torch.manual_seed(0)
    encoder = VideoEncoder(dim=12, depth=1, num_heads=2, patch_size=8, attention="step", frames_per_step=1)
    settings = {"latent_dim": 12, "action_dim": 4, "grid": grid, "dim": dim, "depth": depth, "num_heads": 2}
    model = WorldModel(
        encoder=encoder, predictor=ActionPredictor(**settings, **predictor), image_size=8 * grid[0]
    )
    return redrawn(model, std).to(dtype)


def inputs(model, *, b=2, s=3, t=3, horizon=5, seed=1):
    """Return a context, candidate actions and past actions for ``model``."""
    generator = torch.Generator().manual_seed(seed)
    predictor = model.predictor
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    latents = normalise_latents(draw(b, t, predictor.grid.p, predictor.latent_dim), model.latent_norm)
    a = predictor.action_dim
    dtype = next(model.parameters()).dtype
    return latents.to(dtype), draw(b, s, horizon, a).to(dtype), draw(b, t - 1, a).to(dtype)


@torch.no_grad()
def recompute(model, latents, actions, past_actions=None, proprioception=None):
    """Predict [b l p d] by running the whole sequence again for every step (V-JEPA 2-AC's public way)."""
    b, t = latents.shape[:2]
    horizon = actions.shape[1]
    known = torch.ones(b, t - 1 + horizon, dtype=torch.bool)
    if past_actions is None:
        past_actions = actions.new_zeros(b, t - 1, actions.shape[-1])
        known[:, : t - 1] = False
    taken, found = torch.cat([past_actions, actions], dim=1), []
    for step in range(horizon):
        given = {"known": known[:, : t + step]}
        if proprioception is not None:
            unmeasured = proprioception.new_full((b, step, proprioception.shape[-1]), torch.nan)
            given["proprioception"] = torch.cat([proprioception, unmeasured], dim=1)
        latent = model.normalise(model.predictor(latents, taken[:, : t + step], **given)[:, -1:])
        latents = torch.cat([latents, latent.to(latents.dtype)], dim=1)
        found.append(latents[:, -1])
    return torch.stack(found, dim=1)
