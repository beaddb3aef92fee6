"""Heads: what can be read from latents beside predicting them. All take ``[b l p d]``.

The reward of a block and whether the episode ended are read from the latent that the block led to.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from worldjepa.model.layers.linear import Linear
from worldjepa.model.projector import Readout

HEADS = ("reward", "termination", "proprioception", "pixels")
LOOKING = ("proprioception", "pixels")  # trained on detached latents: for looking at them only


class ScalarHead(nn.Module):
    """One number a latent step: the block's reward, or the logit of termination."""

    def __init__(self, *, latent_dim: int, num_tokens: int, hidden_dim: int = 256):
        super().__init__()
        self.read = Readout(dim=latent_dim, num_tokens=num_tokens, out_dim=1, hidden_dim=hidden_dim)

    def forward(self, latents: Float[Tensor, "b l p d"]) -> Float[Tensor, "b l"]:
        """Return the number read from each latent step."""
        return self.read(latents).squeeze(-1)


class VectorHead(nn.Module):
    """``out_dim`` numbers a latent step: proprioception."""

    def __init__(self, *, latent_dim: int, num_tokens: int, out_dim: int, hidden_dim: int = 256):
        super().__init__()
        self.read = Readout(dim=latent_dim, num_tokens=num_tokens, out_dim=out_dim, hidden_dim=hidden_dim)

    def forward(self, latents: Float[Tensor, "b l p d"]) -> Float[Tensor, "b l q"]:
        """Return the numbers read from each latent step."""
        return self.read(latents)


class PixelHead(nn.Module):
    """The frame of a latent step, RGB, as the training frames in [0, 1] (not clipped).

    Each token draws its square of the frame; a pooled latent draws all of it. The first layer is a sine
    (SIREN, arXiv:2006.09661): where something small stands turns slowly in a latent, and an MLP of smooth
    steps takes many times longer to draw it sharply.
    """

    def __init__(
        self,
        *,
        latent_dim: int,
        grid: tuple[int, int],
        image_size: int,
        hidden_dim: int = 256,
        channels: int = 3,
    ):
        super().__init__()
        if image_size % grid[0] or image_size % grid[1]:
            raise ValueError(f"image_size={image_size} does not divide into a grid of {grid} squares")
        self.grid, self.channels = grid, channels
        self.square = (image_size // grid[0], image_size // grid[1])
        self.embed = Linear(latent_dim, hidden_dim)
        self.fc = Linear(hidden_dim, hidden_dim)
        self.out = Linear(hidden_dim, channels * self.square[0] * self.square[1])
        nn.init.normal_(self.embed.weight, std=0.3)
        nn.init.uniform_(self.embed.bias, -math.pi, math.pi)

    def forward(self, latents: Float[Tensor, "b l p d"]) -> Float[Tensor, "b l c y x"]:
        """Return the frame drawn from each latent step."""
        squares = self.out(F.gelu(self.fc(torch.sin(self.embed(latents)))))
        (h, w), (y, x) = self.grid, self.square
        frames = rearrange(squares, "b l (h w) (c y x) -> b l c (h y) (w x)", h=h, w=w, y=y, x=x)
        return frames.to(torch.promote_types(frames.dtype, torch.float32))
