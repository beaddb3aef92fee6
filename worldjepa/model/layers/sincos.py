"""Fixed sine-cosine positions over (time, row, column), added to tokens (V-JEPA, arXiv:2404.08471)."""

from __future__ import annotations

import functools
import math

import torch
from jaxtyping import Float
from torch import Tensor

from worldjepa.model.layers.rope import BASE, grid_positions
from worldjepa.types import Grid


@functools.lru_cache(maxsize=32)
def grid_sincos(
    grid: Grid, dim: int, in_time: bool, device: torch.device, thirds: bool = False
) -> Float[Tensor, "1 n d"]:
    """Return the position of every token of ``grid``: a quarter of the width each for row and column, the
    rest for time, as sines and cosines of falling frequencies. ``in_time=False`` puts every step at time 0.

    ``thirds``: a third of the width for each (rounded up to an even number, the last one cut), as in the
    published V-JEPA weights (facebookresearch/jepa, ``uniform_power``).
    """
    with torch.inference_mode(False), torch.no_grad():  # a cached table must serve training too
        time, row, column = grid_positions(grid).double().unbind(-1)
        side = 2 * math.ceil(dim / 6) if thirds else dim // 4 // 2 * 2
        rest = side if thirds else dim - 2 * side
        parts = [_waves(time * in_time, rest), _waves(row, side), _waves(column, side)]
        return torch.cat(parts, dim=-1)[:, :dim].to(device, torch.float32).unsqueeze(0)


def _waves(position: Tensor, width: int) -> Tensor:
    half = width // 2
    frequencies = BASE ** -(torch.arange(half, dtype=torch.float64) / half)
    angles = position.unsqueeze(-1) * frequencies
    return torch.nn.functional.pad(torch.cat([angles.sin(), angles.cos()], dim=-1), (0, width - 2 * half))
