"""What the trainer asks of a training criterion, and the passes and losses that criteria share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from worldjepa.model.encoder import VideoEncoder
from worldjepa.model.frames import as_unit_range, normalise_pixels
from worldjepa.types import Batch, Grid, Masks

LOSSES = ("l1", "l2", "smooth_l1", "cosine")


@dataclass(frozen=True)
class Seen:
    """What a step computed on the way, detached, for the gauges of health; one prediction for each mask.

    A criterion that predicts no latents has neither predictions nor masks here.
    """

    raw: Float[Tensor, "b n d"]
    targets: Float[Tensor, "b n d"]
    predictions: tuple[Tensor, ...]
    masks: tuple[Masks, ...]
    grid: Grid


class Objective(nn.Module, ABC):
    """A training criterion over the parts of a model: terms of a batch, whose weighted sum is the loss.

    ``weights`` names the terms in use. ``auxiliary`` holds what is trained with the model but is no part of
    it; a checkpoint keeps it beside the optimiser's state. ``copies`` are pairs of modules in it, an EMA copy
    and what it follows: the trainer moves them as it moves the target encoder.
    """

    copies: tuple[tuple[nn.Module, nn.Module], ...] = ()

    def __init__(self, weights: Mapping[str, float] | None, terms: Collection[str]):
        super().__init__()
        self.weights = dict(weights or {"prediction": 1.0})
        self.auxiliary = nn.ModuleDict()
        unknown = set(self.weights) - set(terms)
        if unknown or "prediction" not in self.weights:
            raise ValueError(
                f"objective.weights must hold prediction and any of {', '.join(terms)}; got {self.weights}"
            )

    @abstractmethod
    def forward(
        self, batch: Batch, masks: tuple[Masks, ...] = (), *, seed: int = 0, first_row: int = 0
    ) -> tuple[dict[str, Tensor], Seen]:
        """Return the unreduced terms (``[b]``, or one number for batch statistics) and what was seen.

        Args:
            batch: this rank's rows, on the device of the model.
            masks: those of these rows, one a mask setting.
            seed: of this step's random draws.
            first_row: number of the first row within the global batch; what is drawn for a row depends on it.
        """

    def total(self, terms: Mapping[str, Tensor]) -> Float[Tensor, ""]:
        """Return the weighted sum of the terms' means; their names must be those of ``weights``."""
        assert set(terms) == set(self.weights), f"terms {set(terms)} != weights {set(self.weights)}"
        return torch.stack([self.weights[name] * term.mean() for name, term in terms.items()]).sum()


def pixel_tubelets(
    encoder: VideoEncoder, frames: Shaped[Tensor, "b f c y x"]
) -> tuple[Float[Tensor, "b n pixels"], Grid]:
    """Cut frames as users have them into normalised tubelets, in float32 also under autocast.

    What is drawn again has to be exact: bf16 would round the small contrasts of a bright patch away.
    """
    clips = normalise_pixels(as_unit_range(frames))
    with torch.autocast(clips.device.type, enabled=False):
        return encoder.tubelets(clips), encoder.grid(clips)


def encode_contexts(
    encoder: VideoEncoder, tubelets: Float[Tensor, "b n pixels"], grid: Grid, masks: Sequence[Masks]
) -> list[Float[Tensor, "b _ d"]]:
    """Return the encoder's latents of the visible tokens of each mask setting, in one pass."""
    parts = tuple(mask.context.shape[1] for mask in masks)
    ids = torch.cat([mask.context for mask in masks], dim=1)
    return list(encoder.encode_tubelets(tubelets, grid, ids, parts).split(parts, dim=1))


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
