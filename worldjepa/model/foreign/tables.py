"""Position tables in published files: whether they are used, and whether they are what we compute."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from worldjepa.model.foreign.contents import ForeignError
from worldjepa.model.layers.sincos import grid_sincos
from worldjepa.types import Grid

THIRDS = "sincos_thirds"
VJEPA_MASK_TOKENS = 2  # a token for each of its two mask settings; V-JEPA 2's releases have 10
TOLERANCE = 1e-3


def choose_positions(has_tables: bool, mask_tokens: int, asked: str | None) -> tuple[str, str]:
    """Return rope or sincos_thirds for a file, and why.

    Raises:
        ForeignError: the file does not say and was not helped by ``asked``.
    """
    if asked is not None:
        if asked not in ("rope", THIRDS):
            raise ForeignError(f"positions={asked}: expected rope (V-JEPA 2) or {THIRDS} (V-JEPA)")
        return asked, f"positions: {asked}, as asked for"
    if not has_tables:
        return "rope", "positions: rotary (V-JEPA 2), the file has no position table"
    if mask_tokens == 0:
        raise ForeignError(
            "the file has position tables and no predictor, so that it may be V-JEPA's, which adds them, or "
            f"V-JEPA 2's, which ignores them; set positions={THIRDS} or positions=rope"
        )
    if mask_tokens == VJEPA_MASK_TOKENS:
        return THIRDS, f"positions: tables (V-JEPA), by its {mask_tokens} mask tokens (positions=)"
    return "rope", f"positions: rotary (V-JEPA 2), by its {mask_tokens} mask tokens (positions=)"


def table_side(table: Tensor, kernel: Tensor, num_frames: int) -> int:
    """Return the rows (and columns) of tokens that a table ``[1 n d]`` is for.

    Raises:
        ForeignError: no square grid of ``num_frames`` has so many tokens.
    """
    steps = num_frames // (kernel.shape[2] if kernel.ndim == 5 else 1)
    tokens = table.shape[1] if table.ndim == 3 else 0
    side = math.isqrt(tokens // max(1, steps))
    if not side or steps * side * side != tokens:
        raise ForeignError(
            f"a position table of {tuple(table.shape)} is for no square grid of {steps} latent steps; set "
            "num_frames= or image_size="
        )
    return side


def check_table(table: Tensor, settings: Mapping[str, Any], name: str) -> None:
    """Refuse a table other than the one that our model computes for the same clip.

    Raises:
        ForeignError: it was learned, or is made in another way.
    """
    data, encoder = settings["data"], settings["model"]["encoder"]
    side = data["size"] // encoder["patch_size"]
    grid = Grid(data["num_frames"] // encoder["tubelet_size"], side, side)
    ours = grid_sincos(grid, table.shape[-1], True, torch.device("cpu"), thirds=True)
    if ours.shape != table.shape or not torch.allclose(ours, table.float(), atol=TOLERANCE):
        raise ForeignError(
            f"{name} {tuple(table.shape)} is not V-JEPA's table for {data['num_frames']} frames of "
            f"{data['size']} px: it was learned, or is for other clips (image_size=, num_frames=)"
        )
