"""Rotary positions over (time, row, column) for tokens of a video.

The head width is split in three equal even parts, one an axis; what remains is not rotated (V-JEPA 2,
arXiv:2506.09985, section 2.1). The two channels of a pair stand half a head apart, so that rotating is two
products and one swap of halves. Two conventions:

``paired``  both channels of a pair turn by the same angle: a true rotation, so attention depends on
            relative positions only.
``vjepa2``  the published V-JEPA 2 weights': their code tiles the angles in blocks instead of interleaving
            them, so the channels of a pair turn by different angles. The map is not a rotation and depends
            on absolute positions; the published weights need it. ``pair_order`` says how foreign channels
            (neighbours form a pair) are laid out here.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from worldjepa.types import Grid

BASE = 10000.0
CONVENTIONS = ("paired", "vjepa2")


class Rotary(NamedTuple):
    """Factors of the two products, broadcast over heads: ``[1 or b, 1, n, dh]``; signs are in ``sin``."""

    cos: Tensor
    sin: Tensor

    def take(self, ids: Int[Tensor, "b k"]) -> Rotary:
        """Return the factors of tokens ``ids`` of each row."""
        return Rotary(self.cos[0, 0][ids].unsqueeze(1), self.sin[0, 0][ids].unsqueeze(1))

    def cut(self, tokens: slice) -> Rotary:
        """Return the factors of a stretch of tokens."""
        return Rotary(self.cos[:, :, tokens], self.sin[:, :, tokens])

    def then(self, other: Rotary) -> Rotary:
        """Return the factors of turning by these and then by ``other`` (of ``paired`` rotations only)."""
        cos, sin = self.cos * other.cos, self.sin * other.sin
        return Rotary(cos - sin, self.sin * other.cos + self.cos * other.sin)

    def for_each(self, copies: int) -> Rotary:
        """Return the factors of ``copies`` neighbouring rows for each row (one table for all stays)."""
        if self.cos.shape[0] == 1:
            return self
        return Rotary(*(x.repeat_interleave(copies, dim=0) for x in self))

    def to(self, dtype: torch.dtype) -> Rotary:
        """Return the factors as ``dtype``."""
        return Rotary(self.cos.to(dtype), self.sin.to(dtype))


def axis_width(head_dim: int) -> int:
    """Return how many channels of a head each of the three axes rotates (even, a third at most)."""
    return 2 * (head_dim // 3 // 2)


def grid_positions(grid: Grid) -> Float[Tensor, "n 3"]:
    """Return (time, row, column) of every token of ``grid`` in token-id order."""
    axes = [torch.arange(size, dtype=torch.float32) for size in grid]
    return torch.cartesian_prod(*axes).reshape(-1, 3)


def rotary(positions: Float[Tensor, "*b n 3"], head_dim: int, convention: str = "paired") -> Rotary:
    """Compute the factors, in float64, for tokens at ``positions`` ([n 3], or [b n 3]: a table a row).

    Raises:
        ValueError: ``convention`` is not one of ``CONVENTIONS``.
    """
    if convention not in CONVENTIONS:
        raise ValueError(f"rope must be one of {', '.join(CONVENTIONS)}, got {convention!r}")
    width = axis_width(head_dim)
    pairs = torch.arange(width // 2, device=positions.device, dtype=torch.float64)
    frequencies = BASE ** (-pairs / (width / 2))
    if convention == "paired":
        first = second = frequencies
    else:  # channel c of an axis turns by frequency c mod (width/2): neighbours differ
        tiled = frequencies.repeat(2)
        first, second = tiled[0::2], tiled[1::2]
    rest = head_dim // 2 - 3 * (width // 2)
    angles = [_angles(positions, half, rest) for half in (first, second)]
    cos = torch.cat([a.cos() for a in angles], dim=-1)
    sin = torch.cat([-angles[0].sin(), angles[1].sin()], dim=-1)
    if positions.ndim == 2:
        cos, sin = cos[None], sin[None]
    return Rotary(cos.unsqueeze(1), sin.unsqueeze(1))


@functools.lru_cache(maxsize=32)
def grid_rotary(
    grid: Grid, head_dim: int, convention: str, in_time: bool, dtype: torch.dtype, device: torch.device
) -> Rotary:
    """Return the table of a whole grid, computed once; ``in_time=False`` puts every step at time 0."""
    with torch.inference_mode(False), torch.no_grad():  # a cached table must serve training too
        positions = grid_positions(grid)
        if not in_time:
            positions[:, 0] = 0
        table = rotary(positions, head_dim, convention)
        return Rotary(table.cos.to(device, dtype), table.sin.to(device, dtype))


def _angles(positions: Tensor, frequencies: Tensor, rest: int) -> Tensor:
    angles = (positions.double().unsqueeze(-1) * frequencies).flatten(-2)  # [.. n 3*width/2]
    return torch.cat([angles, angles.new_zeros(*angles.shape[:-1], rest)], dim=-1)


def rotate(x: Float[Tensor, "*b heads n dh"], table: Rotary) -> Float[Tensor, "*b heads n dh"]:
    """Rotate queries or keys to their positions."""
    return torch.addcmul(x * table.cos, x.roll(x.shape[-1] // 2, dims=-1), table.sin)


def pair_order(head_dim: int) -> Int[Tensor, " dh"]:
    """Return, for each channel of a head here, the channel it is in a layout of neighbouring pairs.

    ``weight_here = weight_there[pair_order]`` for the rows of a head's query and key projections; applied to
    both it leaves their products unchanged. Axis parts stand one after the other in the other layout.
    """
    assert head_dim % 2 == 0
    even = torch.arange(0, head_dim, 2)
    return torch.cat([even, even + 1])
