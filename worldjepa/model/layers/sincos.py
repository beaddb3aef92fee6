"""Fixed sine-cosine positions over (time, row, column), added to tokens (V-JEPA, arXiv:2404.08471)."""

from __future__ import annotations

import functools

import torch
from jaxtyping import Float
from torch import Tensor

from worldjepa.model.layers.rope import BASE, grid_positions
from worldjepa.types import Grid


@functools.lru_cache(maxsize=32)
def grid_sincos(grid: Grid, dim: int, in_time: bool, device: torch.device) -> Float[Tensor, "1 n d"]:
    """Return the position of every token of ``grid``: a quarter of the width each for row and column, the
    rest for time, as sines and cosines of falling frequencies. ``in_time=False`` puts every step at time 0.
    """
    with torch.inference_mode(False), torch.no_grad():  # a cached table must serve training too
        time, row, column = grid_positions(grid).double().unbind(-1)
        side = dim // 4 // 2 * 2
        parts = [_waves(time * in_time, dim - 2 * side), _waves(row, side), _waves(column, side)]
        return torch.cat(parts, dim=-1).to(device, torch.float32).unsqueeze(0)


def _waves(position: Tensor, width: int) -> Tensor:
    half = width // 2
    frequencies = BASE ** -(torch.arange(half, dtype=torch.float64) / half)
    angles = position.unsqueeze(-1) * frequencies
    return torch.nn.functional.pad(torch.cat([angles.sin(), angles.cos()], dim=-1), (0, width - 2 * half))
