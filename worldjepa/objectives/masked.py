"""Masked latent prediction: from what is visible, predict the target encoder's latents of what is not.

V-JEPA (arXiv:2404.08471, section 3.1): targets are the EMA encoder's latents of the whole clip, normalised
without affine, and the context encoder and predictor are trained by a regression loss on the masked tokens.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from worldjepa.model.encoder import VideoEncoder, normalise_latents
from worldjepa.model.frames import as_unit_range, normalise_pixels
from worldjepa.model.layers.tubelet import gather_tokens
from worldjepa.model.predictor import MaskedPredictor
from worldjepa.objectives.objective import Objective, Seen, encode_contexts, regression_loss
from worldjepa.objectives.regularizers import (
    Mean,
    consistency_term,
    covariance_term,
    sigreg_term,
    variance_term,
)
from worldjepa.types import Batch, Grid, Masks

TERMS = ("prediction", "variance", "covariance", "sigreg", "consistency")


class MaskedPrediction(Objective):
    """The training criterion over a context encoder, its EMA copy and a masked predictor.

    ``weights`` names the terms in use. Terms other than ``prediction`` act on the context latents of the
    first mask setting, averaged over their tokens. ``mean`` averages statistics over ranks, ``world_size`` of
    them.
    """

    def __init__(
        self,
        encoder: VideoEncoder,
        target_encoder: VideoEncoder,
        predictor: MaskedPredictor,
        *,
        loss: str = "l1",
        weights: Mapping[str, float] | None = None,
        latent_norm: str = "layer",
        sigreg_projections: int = 1024,
        sigreg_knots: int = 17,
        mean: Mean | None = None,
        world_size: int = 1,
    ):
        super().__init__(weights, TERMS)
        self.encoder, self.target_encoder, self.predictor = encoder, target_encoder, predictor
        self.loss, self.latent_norm = loss, latent_norm
        self.sigreg_projections, self.sigreg_knots = sigreg_projections, sigreg_knots
        self.mean, self.world_size = mean or (lambda x: x), world_size

    def forward(
        self, batch: Batch, masks: tuple[Masks, ...] = (), *, seed: int = 0, first_row: int = 0
    ) -> tuple[dict[str, Tensor], Seen]:
        """Return the terms of a batch and what was seen (see ``Objective``)."""
        second = None if batch.second is None else normalise_pixels(as_unit_range(batch.second))
        return self.terms(normalise_pixels(as_unit_range(batch.frames)), masks, second=second, seed=seed)

    def terms(
        self,
        frames: Float[Tensor, "b f c y x"],
        masks: tuple[Masks, ...],
        *,
        second: Float[Tensor, "b f c y x"] | None = None,
        seed: int = 0,
    ) -> tuple[dict[str, Tensor], Seen]:
        """Return the terms of normalised clips; ``second`` is another clip of each, for ``consistency``."""
        grid = self.encoder.grid(frames)
        tubelets = self.tubelets(frames)
        raw = self.target_latents(tubelets, grid)
        targets = normalise_latents(raw, self.latent_norm)
        contexts = self.context_latents(tubelets, grid, masks)
        predictions = self.predict(contexts, masks, grid)
        losses = [
            regression_loss(predicted, gather_tokens(targets, mask.target), self.loss)
            for predicted, mask in zip(predictions, masks, strict=True)
        ]
        terms = {"prediction": torch.stack(losses).mean(dim=0)}
        if len(self.weights) > 1:
            terms |= self._regularise(contexts[0].mean(dim=1), second, masks[0], seed)
        return terms, Seen(raw, targets, tuple(p.detach() for p in predictions), masks, grid)

    @torch.no_grad()
    def target_latents(self, tubelets: Float[Tensor, "b n pixels"], grid: Grid) -> Float[Tensor, "b n d"]:
        """Return the target encoder's latents before the latent norm."""
        return self.target_encoder.encode_tubelets(tubelets, grid)

    def tubelets(self, frames: Float[Tensor, "b f c y x"]) -> Float[Tensor, "b n pixels"]:
        """Cut the clips once for the target and the context encoder."""
        return self.encoder.tubelets(frames)

    def context_latents(
        self, tubelets: Float[Tensor, "b n pixels"], grid: Grid, masks: tuple[Masks, ...]
    ) -> list[Float[Tensor, "b _ d"]]:
        """Return the context encoder's latents of the visible tokens of each mask setting."""
        return encode_contexts(self.encoder, tubelets, grid, masks)

    def predict(
        self, contexts: list[Float[Tensor, "b _ d"]], masks: tuple[Masks, ...], grid: Grid
    ) -> list[Float[Tensor, "b _ d"]]:
        """Return the predicted latents of the target tokens of each mask setting."""
        return self.predictor.predict_settings(contexts, masks, grid)

    def _regularise(self, pooled: Tensor, second: Tensor | None, mask: Masks, seed: int) -> dict[str, Tensor]:
        terms = {}
        if "variance" in self.weights:
            terms["variance"] = variance_term(pooled, self.mean)
        if "covariance" in self.weights:
            terms["covariance"] = covariance_term(pooled, self.mean)
        if "sigreg" in self.weights:
            terms["sigreg"] = sigreg_term(
                pooled,
                self.mean,
                generator=torch.Generator().manual_seed(seed),
                num_projections=self.sigreg_projections,
                knots=self.sigreg_knots,
                batch_size=len(pooled) * self.world_size,
            )
        if "consistency" in self.weights:
            assert second is not None, "the loader gives two clips a video when this term is in use"
            other = self.encoder.visible(second, mask.context).mean(dim=1)
            terms["consistency"] = consistency_term(pooled, other)
        return terms
