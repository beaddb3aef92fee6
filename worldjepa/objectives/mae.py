"""The masked autoencoder: from what is visible, draw what is not.

MAE (arXiv:2111.06377) and VideoMAE (arXiv:2203.12602).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from worldjepa.model.decoder import PixelDecoder
from worldjepa.model.encoder import VideoEncoder
from worldjepa.model.layers.tubelet import gather_tokens
from worldjepa.objectives.objective import (
    Objective,
    Seen,
    encode_contexts,
    pixel_tubelets,
    regression_loss,
)
from worldjepa.types import Batch, Masks

EPS = 1e-6


class MaskedAutoencoder(Objective):
    """Reconstruction of hidden tubelets, each channel of a tubelet normalised by its own mean and spread.

    Several mask settings count alike. ``loss`` is one of ``LOSSES``, on these pixels.
    """

    def __init__(
        self,
        encoder: VideoEncoder,
        decoder: PixelDecoder,
        *,
        loss: str = "l2",
        weights: Mapping[str, float] | None = None,
    ):
        super().__init__(weights, ("prediction",))
        self.encoder, self.loss = encoder, loss
        self.auxiliary["decoder"] = decoder

    def forward(
        self, batch: Batch, masks: tuple[Masks, ...] = (), *, seed: int = 0, first_row: int = 0
    ) -> tuple[dict[str, Tensor], Seen]:
        """Return the term of a batch and what was seen: the latents of the first setting's visible tokens."""
        tubelets, grid = pixel_tubelets(self.encoder, batch.frames)
        targets = normalise_tubelets(tubelets, self.encoder.embed.channels)
        contexts = encode_contexts(self.encoder, tubelets, grid, masks)
        losses = []
        for context, mask in zip(contexts, masks, strict=True):
            drawn = self.auxiliary["decoder"](context, grid, mask)
            losses.append(regression_loss(drawn, gather_tokens(targets, mask.target), self.loss))
        raw = contexts[0].detach()
        return {"prediction": torch.stack(losses).mean(dim=0)}, Seen(raw, raw, (), (), grid)


def normalise_tubelets(tubelets: Float[Tensor, "b n pixels"], channels: int) -> Float[Tensor, "b n pixels"]:
    """Shift and scale each channel of each tubelet to mean 0 and variance 1, as VideoMAE's code does."""
    x = rearrange(tubelets, "b n (c pixels) -> b n c pixels", c=channels)
    spread = x.var(dim=-1, keepdim=True).sqrt()
    return ((x - x.mean(dim=-1, keepdim=True)) / (spread + EPS)).flatten(2)
