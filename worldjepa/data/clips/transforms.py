"""Crops and flips of clips: one draw for all frames, from a generator that the caller seeds.

The crops are those of torchvision v2; its own classes draw from torch's global generator, so the
parameters are drawn here and only the functional part is used.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import UInt8
from torch import Tensor
from torchvision.transforms.v2 import functional as v2

# Frames are decoded with this margin round the crop: 256 pixels for a crop of 224, as is customary.
MARGIN = 256 / 224


@runtime_checkable
class Transform(Protocol):
    """Says at what size to decode, then makes the square clip."""

    def decode_size(self, height: int, width: int) -> int:
        """Return the short side to decode a video of this display size at."""
        ...

    def __call__(
        self, frames: UInt8[Tensor, "f c y x"], generator: torch.Generator
    ) -> UInt8[Tensor, "f c size size"]:
        """Return the frames cropped and resized."""
        ...


@dataclass(frozen=True)
class TrainTransform:
    """Random resized crop, then a horizontal flip with probability ``flip``.

    The crop covers a share of the area drawn from ``crop_scale`` with an aspect (width / height) drawn
    log-uniformly from ``crop_aspect`` (Szegedy et al., arXiv:1409.4842, section 6).
    """

    size: int
    crop_scale: tuple[float, float] = (0.3, 1.0)
    crop_aspect: tuple[float, float] = (0.75, 1.35)
    flip: float = 0.5

    def __post_init__(self):
        _check_size(self.size)
        for name, (low, high), most in (
            ("scale", self.crop_scale, 1.0),
            ("aspect", self.crop_aspect, math.inf),
        ):
            if not 0 < low <= high <= most:
                raise ValueError(f"data.crop_{name}=[{low}, {high}]: expected 0 < first <= second <= {most}")
        if not 0 <= self.flip <= 1:
            raise ValueError(f"data.flip={self.flip}: expected a probability from 0 to 1")

    def decode_size(self, height: int, width: int) -> int:
        """Return the crop's size with a margin, never more than the video has."""
        return min(height, width, round(self.size * MARGIN))

    def __call__(
        self, frames: UInt8[Tensor, "f c y x"], generator: torch.Generator
    ) -> UInt8[Tensor, "f c size size"]:
        """Return the frames cropped to ``size`` x ``size``, all alike."""
        top, left, height, width = self.draw_crop(frames.shape[-2], frames.shape[-1], generator)
        clip = v2.resized_crop(frames, top, left, height, width, [self.size, self.size], antialias=True)
        if torch.rand((), generator=generator) < self.flip:
            clip = v2.horizontal_flip(clip)
        return clip.contiguous()

    def draw_crop(self, height: int, width: int, generator: torch.Generator) -> tuple[int, int, int, int]:
        """Draw (top, left, height, width); the largest allowed centre crop if ten draws do not fit."""
        low, high = (math.log(edge) for edge in self.crop_aspect)
        for _ in range(10):
            u = torch.rand(4, generator=generator, dtype=torch.float64).tolist()
            area = height * width * (self.crop_scale[0] + u[0] * (self.crop_scale[1] - self.crop_scale[0]))
            aspect = math.exp(low + u[1] * (high - low))
            w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if 0 < w <= width and 0 < h <= height:
                return int(u[2] * (height - h + 1)), int(u[3] * (width - w + 1)), h, w
        aspect = min(max(width / height, self.crop_aspect[0]), self.crop_aspect[1])
        h, w = min(height, round(width / aspect)), min(width, round(height * aspect))
        return (height - h) // 2, (width - w) // 2, h, w


@dataclass(frozen=True)
class EvalTransform:
    """Short side to ``size`` with the margin, then a crop at the centre of the frame.

    ``place`` from 0 to 1 moves the crop along the long side (of a square frame: its width).
    """

    size: int
    place: float = 0.5

    def __post_init__(self):
        _check_size(self.size)

    def decode_size(self, height: int, width: int) -> int:
        """Return the crop's size with a margin."""
        return round(self.size * MARGIN)

    def __call__(
        self, frames: UInt8[Tensor, "f c y x"], generator: torch.Generator
    ) -> UInt8[Tensor, "f c size size"]:
        """Return the crop of the frames; draws nothing."""
        top, left = self.corner(frames.shape[-2], frames.shape[-1])
        return frames[..., top : top + self.size, left : left + self.size].contiguous()

    def corner(self, height: int, width: int) -> tuple[int, int]:
        """Return the first row and column of the crop of frames of that size."""
        rows, columns = (0.5, self.place) if width >= height else (self.place, 0.5)
        return round(rows * (height - self.size)), round(columns * (width - self.size))


def _check_size(size: int) -> None:
    if size < 1:
        raise ValueError(f"data.size={size}: expected a positive number of pixels")
