"""Rotary positions: relative where they promise to be, and equal to the published convention."""

import pytest
import torch

from worldjepa.model.layers.rope import axis_width, grid_positions, pair_order, rotary, rotate
from worldjepa.types import Grid


def scores(q, k, positions, convention):
    table = rotary(positions, q.shape[-1], convention)
    return rotate(q, table) @ rotate(k, table).transpose(-1, -2)


@pytest.mark.parametrize("head_dim", [32, 64, 48, 26])
def test_paired_depends_on_relative_positions_only(head_dim):
    q, k = torch.randn(2, 1, 2, 12, head_dim, dtype=torch.float64)
    positions = grid_positions(Grid(3, 2, 2))
    shifted = positions + torch.tensor([5.0, -2.0, 11.0])
    torch.testing.assert_close(scores(q, k, positions, "paired"), scores(q, k, shifted, "paired"))
    assert not torch.allclose(scores(q, k, positions, "paired"), q @ k.transpose(-1, -2), atol=1e-3)


def test_vjepa2_is_absolute():
    q, k = torch.randn(2, 1, 2, 12, 64, dtype=torch.float64)
    positions = grid_positions(Grid(3, 2, 2))
    before, after = scores(q, k, positions, "vjepa2"), scores(q, k, positions + 3.0, "vjepa2")
    assert not torch.allclose(before, after, atol=1e-2)


def rotate_published(x, position):
    """One axis of the published map, literally: neighbours form a pair, angles tiled in blocks."""
    width = x.shape[-1]
    omega = 10000.0 ** -(torch.arange(width // 2, dtype=x.dtype) / (width / 2))
    angles = (position.to(x.dtype).unsqueeze(-1) * omega).repeat(1, 2)
    swapped = torch.stack([-x[..., 1::2], x[..., 0::2]], dim=-1).flatten(-2)
    return x * angles.cos() + swapped * angles.sin()


@pytest.mark.parametrize("head_dim", [32, 64, 88])
def test_vjepa2_equals_the_published_map(head_dim):
    positions = grid_positions(Grid(3, 4, 5))
    q, k = torch.randn(2, 1, 2, 60, head_dim, dtype=torch.float64)
    width = axis_width(head_dim)

    def published(x):
        parts = [rotate_published(x[..., i * width : (i + 1) * width], positions[:, i]) for i in range(3)]
        return torch.cat([*parts, x[..., 3 * width :]], dim=-1)

    order = pair_order(head_dim)
    here = scores(q[..., order], k[..., order], positions, "vjepa2")
    torch.testing.assert_close(here, published(q) @ published(k).transpose(-1, -2))


def test_unknown_convention_is_refused():
    with pytest.raises(ValueError, match="rope must be one of paired, vjepa2"):
        rotary(torch.zeros(1, 3), 32, "interleaved")
