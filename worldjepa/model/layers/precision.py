"""In which precision matrix products are made here."""

from __future__ import annotations

import functools

import torch
from torch import Tensor


def compute_dtype(x: Tensor) -> torch.dtype:
    """Return the precision in which matrix products of ``x`` are made: autocast's, or its own."""
    kind = x.device.type
    lowered = torch.is_autocast_enabled(kind) and x.dtype != torch.float64
    return torch.get_autocast_dtype(kind) if lowered else x.dtype


@functools.cache
def bf16_products() -> bool:
    """Return whether this CPU multiplies bf16 matrices natively (AVX-512 BF16 or AMX)."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


@functools.cache
def amx_products() -> bool:
    """Return whether this CPU multiplies tiles of bf16 matrices (AMX)."""
    return bool(torch.cpu._is_amx_tile_supported())
