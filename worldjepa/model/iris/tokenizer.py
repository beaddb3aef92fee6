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
from worldjepa.model.frames import pixels_of
from worldjepa.model.layers.linear import Linear
from worldjepa.types import Grid

# at 0.99, as in VQ-VAE, a few codes stood for everything in the first 300 steps: the encoder outran them
DECAY = 0.9
DEAD = 0.02  # mean uses a step below which a code begins anew: not used for 40 steps
REMEMBERED = 100  # steps that the mean frame is an average of
LEAST = 1e-4  # variance about it, where frames hardly differ: a hundredth of a pixel's standard deviation


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

        The further a vector is from its code, the likelier a dead one begins anew there (as in k-means++): of
        vectors drawn evenly, nearly all are of what never moves, and have their codes already. Vectors that
        are not finite leave all as it was. ``mean`` averages over ranks; ``generator`` draws (the trainer
        gives all ranks the codes of the first).
        """
        x = vectors.to(self.codes.dtype)
        uses = F.one_hot(ids, len(self.codes)).to(x.dtype)
        with torch.autocast(x.device.type, enabled=False):
            used, sums = mean(uses.sum(dim=0)), mean(uses.T @ x)
        if not bool(sums.isfinite().all()):
            return
        counts = DECAY * self.counts + (1 - DECAY) * used
        total = DECAY * self.counts.unsqueeze(1) * self.codes + (1 - DECAY) * sums
        missed = (x - self(ids)).square().sum(dim=1).cpu() + torch.finfo(torch.float32).tiny
        chosen = torch.multinomial(missed, len(self.codes), True, generator=generator).to(x.device)
        dead = counts < DEAD
        moved = total / counts.clamp_min(DEAD).unsqueeze(1)
        self.codes.copy_(torch.where(dead.unsqueeze(1), x[chosen], moved))
        self.counts.copy_(torch.where(dead, 1.0, counts))


class Contrast(nn.Module):
    """Frames as what differs from their mean, in units of its spread: what never moves is nothing.

    Of a small thing on a bright ground an encoder sees little else than the ground, and all its vectors come
    out alike. ``image_size`` is the side of frames; they are normalised as encoders read them.
    """

    mean: Tensor
    variance: Tensor
    steps: Tensor

    def __init__(self, image_size: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(3, image_size, image_size))
        self.register_buffer("variance", torch.ones(()))
        self.register_buffer("steps", torch.zeros(()))  # that both are averages of, up to REMEMBERED

    def forward(self, frames: Float[Tensor, "*b c y x"]) -> Float[Tensor, "*b c y x"]:
        """Return what differs.

        Raises:
            ValueError: frames of another size.
        """
        if frames.shape[-2:] != self.mean.shape[-2:]:
            y, x = self.mean.shape[-2:]
            raise ValueError(f"frames must be {y} x {x} pixels, got {tuple(frames.shape)}; resize them")
        return (frames - self.mean) / self.variance.sqrt()

    def undo(self, contrasts: Float[Tensor, "*b c y x"]) -> Float[Tensor, "*b c y x"]:
        """Return the frames of what differs."""
        return self.mean + contrasts * self.variance.sqrt()

    @torch.no_grad()
    def follow(self, frames: Float[Tensor, "b f c y x"], mean: Callable[[Tensor], Tensor]) -> None:
        """Move towards the frames of a step; ``mean`` averages over ranks."""
        self.steps.copy_((self.steps + 1).clamp_max(REMEMBERED))
        self.mean.lerp_(mean(frames.mean(dim=(0, 1))), 1 / self.steps)
        spread = mean((frames - self.mean).square().mean()).clamp_min(LEAST)
        self.variance.lerp_(spread, 1 / self.steps)


class FrameTokenizer(nn.Module):
    """The encoder of a world model of tokens: each frame alone, as the codes of its ``p`` tokens.

    Each square of ``encoder.embed.patch_size`` pixels is encoded as a picture of its own: a token says what
    is in its square. If squares saw each other, all tokens would tell of the one thing that moves, and a
    prediction, token by token, would have to get each of them right. ``encoder`` takes one frame a latent
    step, each alone; ``image_size``: side of frames; ``latent_dim``: width of the codes.
    """

    frames_per_step, attention = 1, "step"

    def __init__(self, encoder: VideoEncoder, *, image_size: int, latent_dim: int = 64, num_codes: int = 512):
        super().__init__()
        if (encoder.frames_per_step, encoder.attention) != (1, "step"):
            raise ValueError("a tokenizer reads frames one by one: use frames_per_step=1 and attention=step")
        self.encoder, self.latent_dim = encoder, latent_dim
        self.contrast = Contrast(image_size)
        self.proj = Linear(encoder.dim, latent_dim)
        self.codebook = Codebook(num_codes, latent_dim)

    def forward(self, frames: Float[Tensor, "b f c y x"]) -> Float[Tensor, "b t p d"]:
        """Return the codes of normalised frames."""
        return self.codebook(self.codebook.nearest(self.vectors(self.contrast(frames))))

    def vectors(self, contrasts: Float[Tensor, "b f c y x"]) -> Float[Tensor, "b t p d"]:
        """Return what is to be replaced by the nearest codes."""
        return self.proj(self._squares(contrasts)).float()

    def tokens(self, frames: Float[Tensor, "b f c y x"]) -> Float[Tensor, "b t p width"]:
        """Return what the encoder makes of normalised frames, before they become codes."""
        return self._squares(self.contrast(frames))

    def _squares(self, contrasts: Float[Tensor, "b f c y x"]) -> Float[Tensor, "b t p width"]:
        grid, side = self.grid(contrasts), self.encoder.embed.patch_size
        cut = rearrange(contrasts, "b f c (h y) (w x) -> (b f h w) 1 c y x", y=side, x=side)
        return self.encoder(cut).view(len(contrasts), grid.t, grid.p, -1)

    def grid(self, frames: Shaped[Tensor, "b f c y x"]) -> Grid:
        """Return the token grid of a clip, time counted in latent steps."""
        return self.encoder.grid(frames)

    def latent_grid(self, y: int, x: int) -> tuple[int, int]:
        """Return the rows and columns of tokens of a ``y`` x ``x`` frame."""
        return self.encoder.latent_grid(y, x)


class FrameDecoder(nn.Module):
    """Codes back to frames: what other world models have a head for, this one is trained by.

    ``contrast`` is the tokenizer's; ``grid``: rows and columns of a frame's tokens, each a square of
    ``patch_size`` pixels.
    """

    def __init__(self, decoder: PixelDecoder, contrast: Contrast, *, grid: tuple[int, int], patch_size: int):
        super().__init__()
        self.decoder, self.contrast, self.grid, self.patch_size = decoder, contrast, grid, patch_size

    def forward(self, latents: Float[Tensor, "b l p d"]) -> Float[Tensor, "b l c y x"]:
        """Return the frame of each latent step, RGB in [0, 1] (not clipped)."""
        return pixels_of(self.contrast.undo(self.contrasts(latents)))

    def contrasts(self, latents: Float[Tensor, "b l p d"]) -> Float[Tensor, "b l c y x"]:
        """Return what the frame of each latent step differs in from the mean (see ``Contrast``)."""
        (h, w), side = self.grid, self.patch_size
        drawn = self.decoder(latents.flatten(0, 1), Grid(1, h, w))
        drawn = drawn.to(torch.promote_types(drawn.dtype, torch.float32)).unflatten(0, latents.shape[:2])
        return rearrange(drawn, "b l (h w) (c y x) -> b l c (h y) (w x)", h=h, w=w, y=side, x=side)
