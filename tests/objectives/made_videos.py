"""Tiny encoders and clips for the tests of criteria over video."""

import torch

from worldjepa.model.decoder import PixelDecoder
from worldjepa.model.encoder import VideoEncoder
from worldjepa.types import Batch

PIXELS = 3 * 2 * 4 * 4  # of a tubelet


def encoder(**changes):
    """Return an encoder of tubelets of 2 x 4 x 4 pixels."""
    torch.manual_seed(0)
    return VideoEncoder(**{"dim": 32, "depth": 2, "num_heads": 2, "patch_size": 4, **changes})


def decoder(**changes):
    torch.manual_seed(1)
    return PixelDecoder(latent_dim=32, pixels=PIXELS, dim=24, depth=2, num_heads=2, **changes)


def clips(rows=3, seed=4):
    """Return random clips with a second view: 2 latent steps of 4 x 4 tokens."""
    draw = torch.Generator().manual_seed(seed)
    both = torch.randint(0, 256, (2, rows, 4, 3, 16, 16), dtype=torch.uint8, generator=draw)
    return Batch(both[0], second=both[1])


def fit(objective, batch, masks=(), steps=150, rate=3e-3):
    """Train on one batch; return the loss of every step."""
    trained = [p for p in objective.parameters() if p.requires_grad]
    optimizer, losses = torch.optim.AdamW(trained, lr=rate, weight_decay=0.0), []
    for _ in range(steps):
        terms, _ = objective(batch, masks)
        loss = objective.total(terms)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses
