"""The tokenizer of IRIS (arXiv:2209.00588, section 2.1): frames to words of a vocabulary, and back.

A vector-quantised autoencoder (VQ-VAE, arXiv:1711.00937): each vector that the encoder makes of a frame is
replaced by the nearest code. Codes follow the vectors that they stand for as moving averages (its appendix
A.1). Where the paper has convolutions, encoder and decoder are the transformers that the others are made of.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from worldjepa.model.decoder import PixelDecoder
from worldjepa.model.encoder import VideoEncoder
from worldjepa.model.layers.linear import Linear
from worldjepa.types import Grid

# at 0.99, as in VQ-VAE, a few codes stood for everything in the first 300 steps: the encoder outran them
DECAY = 0.9
DEAD = 0.02  # mean uses a step below which a code begins anew: not used for 40 steps


class Codebook(nn.Module):
    """``num_codes`` vectors of width ``dim``; ``counts`` are moving averages of their uses in a step."""

    codes: Tensor
    counts: Tensor

    def __init__(self, num_codes: int, dim: int):
        super().__init__()
        self.register_buffer("codes", torch.randn(num_codes, dim))
        self.register_buffer("counts", torch.zeros(num_codes))

    def forward(self, ids: Int[Tensor, "*b"]) -> Float[Tensor, "*b d"]:
        """Return the codes of token ids."""
        return F.embedding(ids, self.codes)

    def nearest(self, vectors: Float[Tensor, "*b d"]) -> Int[Tensor, "*b"]:
        """Return the id of the code nearest to each vector."""
        with torch.autocast(vectors.device.type, enabled=False):
            x = vectors.to(self.codes.dtype)
            return (self.codes.square().sum(dim=1) - 2 * x @ self.codes.T).argmin(dim=-1)

    @torch.no_grad()
    def follow(
        self,
        vectors: Float[Tensor, "n d"],
        ids: Int[Tensor, " n"],
        mean: Callable[[Tensor], Tensor],
        generator: torch.Generator,
    ) -> None:
        """Move each code towards the mean of the vectors that it stands for; put dead ones among the vectors.

        Vectors that are not finite leave all as it was. ``mean`` averages over ranks; ``generator`` chooses
        where dead codes begin anew (the trainer gives all ranks the codes of the first).
        """
        x = vectors.to(self.codes.dtype)
        uses = F.one_hot(ids, len(self.codes)).to(x.dtype)
        with torch.autocast(x.device.type, enabled=False):
            used, sums = mean(uses.sum(dim=0)), mean(uses.T @ x)
        if not bool(sums.isfinite().all()):
            return
        counts = DECAY * self.counts + (1 - DECAY) * used
        total = DECAY * self.counts.unsqueeze(1) * self.codes + (1 - DECAY) * sums
        chosen = torch.randint(len(x), (len(self.codes),), generator=generator).to(x.device)
        dead = counts < DEAD
        moved = total / counts.clamp_min(DEAD).unsqueeze(1)
        self.codes.copy_(torch.where(dead.unsqueeze(1), x[chosen], moved))
        self.counts.copy_(torch.where(dead, 1.0, counts))


class FrameTokenizer(nn.Module):
    """The encoder of a world model of tokens: each frame alone, as the codes of its ``p`` tokens.

    ``encoder`` takes one frame a latent step, each alone; ``latent_dim`` is the width of the codes.
    """

    frames_per_step, attention = 1, "step"

    def __init__(self, encoder: VideoEncoder, *, latent_dim: int = 64, num_codes: int = 512):
        super().__init__()
        if (encoder.frames_per_step, encoder.attention) != (1, "step"):
            raise ValueError("a tokenizer reads frames one by one: use frames_per_step=1 and attention=step")
        self.encoder, self.latent_dim = encoder, latent_dim
        self.proj = Linear(encoder.dim, latent_dim)
        self.codebook = Codebook(num_codes, latent_dim)

    def forward(self, frames: Float[Tensor, "b f c y x"]) -> Float[Tensor, "b t p d"]:
        """Return the codes of normalised frames."""
        return self.codebook(self.codebook.nearest(self.vectors(frames)))

    def vectors(self, frames: Float[Tensor, "b f c y x"]) -> Float[Tensor, "b t p d"]:
        """Return what is to be replaced by the nearest codes."""
        return self.proj(self.encoder(frames)).float()

    def grid(self, frames: Shaped[Tensor, "b f c y x"]) -> Grid:
        """Return the token grid of a clip, time counted in latent steps."""
        return self.encoder.grid(frames)

    def latent_grid(self, y: int, x: int) -> tuple[int, int]:
        """Return the rows and columns of tokens of a ``y`` x ``x`` frame."""
        return self.encoder.latent_grid(y, x)


class FrameDecoder(nn.Module):
    """Codes back to frames: what other world models have a head for, this one is trained by.

    ``grid``: rows and columns of a frame's tokens, each a square of ``patch_size`` pixels.
    """

    def __init__(self, decoder: PixelDecoder, *, grid: tuple[int, int], patch_size: int):
        super().__init__()
        self.decoder, self.grid, self.patch_size = decoder, grid, patch_size

    def forward(self, latents: Float[Tensor, "b l p d"]) -> Float[Tensor, "b l c y x"]:
        """Return the frame of each latent step, RGB in [0, 1] (not clipped)."""
        (h, w), side = self.grid, self.patch_size
        drawn = self.decoder(latents.flatten(0, 1), Grid(1, h, w))
        drawn = drawn.to(torch.promote_types(drawn.dtype, torch.float32)).unflatten(0, latents.shape[:2])
        return rearrange(drawn, "b l (h w) (c y x) -> b l c (h y) (w x)", h=h, w=w, y=side, x=side)
