"""Tubelets: a block of frames x patch x patch pixels becomes one token."""

from __future__ import annotations

import torch
from einops import rearrange
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from worldjepa.model.layers.linear import Linear
from worldjepa.types import Grid


class TubeletEmbed(nn.Module):
    """Cut frames into tubelets and embed each by one linear map.

    The pixels of a tubelet stand in the order (channel, frame, row, column), that of a Conv3d kernel, so that
    a published convolution's weight flattens into ``proj.weight``.
    """

    def __init__(self, dim: int, *, patch_size: int = 16, tubelet_size: int = 2, channels: int = 3):
        super().__init__()
        self.patch_size, self.tubelet_size, self.channels = patch_size, tubelet_size, channels
        self.proj = Linear(channels * tubelet_size * patch_size**2, dim)

    def grid(self, frames: Shaped[Tensor, "b f c y x"]) -> Grid:
        """Return the token grid of ``frames``.

        Raises:
            ValueError: the frames do not fill whole tubelets.
        """
        _, f, c, y, x = frames.shape
        if c != self.channels:
            raise ValueError(
                f"frames have {c} channels; the encoder was built for {self.channels} ([b f c y x])"
            )
        if f == 0 or f % self.tubelet_size:
            nearest = max(1, f // self.tubelet_size) * self.tubelet_size
            raise ValueError(
                f"clip has {f} frames; tubelet_size={self.tubelet_size} needs a multiple of "
                f"{self.tubelet_size}; pass {nearest} (in training: data.num_frames={nearest})"
            )
        if y % self.patch_size or x % self.patch_size:
            raise ValueError(f"frames are {y} x {x}; patch_size={self.patch_size} needs multiples of it")
        return Grid(f // self.tubelet_size, y // self.patch_size, x // self.patch_size)

    def patchify(self, frames: Float[Tensor, "b f c y x"]) -> Float[Tensor, "b n pixels"]:
        """Cut frames into tubelets of raw pixels, in token-id order."""
        self.grid(frames)
        return rearrange(
            frames,
            "b (t dt) c (h dy) (w dx) -> b (t h w) (c dt dy dx)",
            dt=self.tubelet_size,
            dy=self.patch_size,
            dx=self.patch_size,
        )

    def forward(self, tubelets: Float[Tensor, "b n pixels"]) -> Float[Tensor, "b n d"]:
        """Embed tubelets (all of them, or those that were gathered)."""
        return self.proj(tubelets)


def gather_tokens(x: Float[Tensor, "b n d"], ids: Int[Tensor, "b k"]) -> Float[Tensor, "b k d"]:
    """Take tokens ``ids`` of each row, whole rows of memory at a time."""
    b, n, _ = x.shape
    rows = ids + n * torch.arange(b, device=x.device).unsqueeze(1)
    return x.flatten(0, 1).index_select(0, rows.flatten()).unflatten(0, (b, -1))
