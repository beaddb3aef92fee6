"""Convolutions before the first token: shapes are learnt from far fewer pictures than by one linear map."""

from __future__ import annotations

import math

from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from worldjepa.model.layers.tubelet import TubeletEmbed


class ConvStem(TubeletEmbed):
    """Convolve each tubelet's frames down to one vector for each patch, and embed that by one linear map.

    3 x 3 convolutions of stride 2 halve the frame until a patch is one place, from ``dim / 4`` channels
    doubling up to ``dim``, each with a norm over the frame and GELU (Xiao et al. 2021, arXiv:2106.14881,
    section 4). A vector depends on the pixels around its patch, so that hiding tokens would hide nothing:
    masked pretraining cannot use it. Tubelets do not see each other.

    Raises:
        ValueError: ``patch_size`` is not a power of two from 2 on.
    """

    def __init__(self, dim: int, *, patch_size: int = 16, tubelet_size: int = 2, channels: int = 3):
        halvings = round(math.log2(max(patch_size, 1)))
        if patch_size < 2 or 2**halvings != patch_size:
            raise ValueError(f"patch_size={patch_size}: stem=conv halves frames, and needs 2, 4, 8, 16 or 32")
        widths = [min(dim, max(1, dim // 4) * 2**i) for i in range(halvings)]
        super().__init__(
            dim, patch_size=patch_size, tubelet_size=tubelet_size, channels=channels, width=widths[-1]
        )
        layers: list[nn.Module] = []
        for inside, outside in zip([channels * tubelet_size, *widths], widths, strict=False):
            layers += [nn.Conv2d(inside, outside, 3, 2, 1), nn.GroupNorm(1, outside), nn.GELU()]
        self.convolutions = nn.Sequential(*layers)

    def patchify(self, frames: Float[Tensor, "b f c y x"]) -> Float[Tensor, "b n width"]:
        """Convolve frames into a vector for each tubelet, in token-id order."""
        grid = self.grid(frames)
        pictures = rearrange(frames, "b (t dt) c y x -> (b t) (c dt) y x", dt=self.tubelet_size)
        return rearrange(self.convolutions(pictures), "(b t) c h w -> b (t h w) c", t=grid.t)
