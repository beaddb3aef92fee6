"""Resize frames in torch, for readers whose decoder does not do it."""

from __future__ import annotations

from jaxtyping import UInt8
from torch import Tensor
from torchvision.transforms.v2 import functional as v2


def resize_frames(frames: UInt8[Tensor, "f c y x"], size: tuple[int, int]) -> UInt8[Tensor, "f c y2 x2"]:
    """Return ``frames`` at ``size`` (y, x), bilinear with antialiasing."""
    return frames if tuple(frames.shape[-2:]) == size else v2.resize(frames, list(size), antialias=True)
