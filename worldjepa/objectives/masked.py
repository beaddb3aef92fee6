"""Masked latent prediction: from what is visible, predict the target encoder's latents of what is not.

V-JEPA (arXiv:2404.08471, section 3.1): targets are the EMA encoder's latents of the whole clip, normalised
without affine, and the context encoder and predictor are trained by a regression loss on the masked tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from worldjepa.model.encoder import VideoEncoder, normalise_latents
from worldjepa.model.layers.tubelet import gather_tokens
from worldjepa.model.predictor import MaskedPredictor
from worldjepa.objectives.regularizers import (
    Mean,
    consistency_term,
    covariance_term,
    sigreg_term,
    variance_term,
)
from worldjepa.types import Grid, Masks

LOSSES = ("l1", "l2", "smooth_l1", "cosine")
TERMS = ("prediction", "variance", "covariance", "sigreg", "consistency")


@dataclass(frozen=True)
class Seen:
    """What a step computed on the way, detached, for the gauges of health; one prediction a mask setting."""

    raw: Float[Tensor, "b n d"]
    targets: Float[Tensor, "b n d"]
    predictions: tuple[Tensor, ...]
    masks: tuple[Masks, ...]
    grid: Grid


def regression_loss(
    predicted: Float[Tensor, "b m d"], target: Float[Tensor, "b m d"], kind: str
) -> Float[Tensor, " b"]:
    """Return the loss of each row, averaged over its tokens (and dimensions).

    ``cosine`` is one minus the cosine similarity, half the squared distance of the normalised vectors.
    """
    predicted, target = predicted.float(), target.float()
    if kind == "l1":
        return (predicted - target).abs().mean(dim=(1, 2))
    if kind == "l2":
        return (predicted - target).square().mean(dim=(1, 2))
    if kind == "smooth_l1":
        return F.smooth_l1_loss(predicted, target, reduction="none").mean(dim=(1, 2))
    if kind == "cosine":
        return (1 - F.cosine_similarity(predicted, target, dim=-1)).mean(dim=1)
    raise ValueError(f"loss must be one of {', '.join(LOSSES)}, got {kind!r}")


class MaskedPrediction(nn.Module):
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
        super().__init__()
        self.encoder, self.target_encoder, self.predictor = encoder, target_encoder, predictor
        self.loss, self.latent_norm = loss, latent_norm
        self.weights = dict(weights or {"prediction": 1.0})
        unknown = set(self.weights) - set(TERMS)
        if unknown or "prediction" not in self.weights:
            raise ValueError(f"objective.weights must hold prediction and any of {TERMS}, got {self.weights}")
        self.sigreg_projections, self.sigreg_knots = sigreg_projections, sigreg_knots
        self.mean, self.world_size = mean or (lambda x: x), world_size

    def forward(
        self,
        frames: Float[Tensor, "b f c y x"],
        masks: tuple[Masks, ...],
        *,
        second: Float[Tensor, "b f c y x"] | None = None,
        seed: int = 0,
    ) -> tuple[dict[str, Tensor], Seen]:
        """Return the unreduced terms (``[b]``, or one number for batch statistics) and what was seen.

        Args:
            frames: normalised clips.
            masks: one a mask setting.
            second: another clip of each video, for ``consistency``.
            seed: of this step's random projections.
        """
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
        parts = tuple(mask.context.shape[1] for mask in masks)
        ids = torch.cat([mask.context for mask in masks], dim=1)
        return list(self.encoder.encode_tubelets(tubelets, grid, ids, parts).split(parts, dim=1))

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

    def total(self, terms: Mapping[str, Tensor]) -> Float[Tensor, ""]:
        """Return the weighted sum of the terms' means; their names must be those of ``weights``."""
        assert set(terms) == set(self.weights), f"terms {set(terms)} != weights {set(self.weights)}"
        return torch.stack([self.weights[name] * term.mean() for name, term in terms.items()]).sum()
