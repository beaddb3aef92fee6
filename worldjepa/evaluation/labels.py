"""What a pretrained encoder knows of the labels, beside chance, raw pixels and the untrained encoder."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from worldjepa.evaluation.probes import Score, extract, pool_latents, pool_pixels, probe
from worldjepa.model.world_model import WorldModel
from worldjepa.types import Batch

Clips = Callable[[], Iterable[Batch]]


@dataclass(frozen=True)
class LabelReport:
    """Accuracies on held-out clips. ``chance`` is the share of the most frequent held-out label."""

    chance: float
    trained: Score
    untrained: Score
    pixels: Score
    train_clips: int
    held_out_clips: int
    classes: int

    def to_dict(self) -> dict:
        """Return plain data for JSON."""
        return asdict(self)


def report_labels(model: WorldModel, untrained: WorldModel, train: Clips, held_out: Clips) -> LabelReport:
    """Fit and score the probes on frozen latents of the model, of ``untrained``, and on raw pixels.

    ``train`` and ``held_out`` yield labelled batches each time they are called.

    Raises:
        NoProbeError: fewer than two classes are known, or there are no held-out clips.
    """
    ways = [_encoded(model), _encoded(untrained), pool_pixels]
    fitted, tested = extract(train(), ways), extract(held_out(), ways)
    scores = [probe(fit, test) for fit, test in zip(fitted, tested, strict=True)]
    labels = tested[0].labels
    return LabelReport(
        chance=float(torch.bincount(labels).max()) / len(labels),
        trained=scores[0],
        untrained=scores[1],
        pixels=scores[2],
        train_clips=len(fitted[0].labels),
        held_out_clips=len(labels),
        classes=len(torch.unique(torch.cat([fitted[0].labels, labels]))),
    )


def _encoded(model: WorldModel) -> Callable[[Tensor], Tensor]:
    return lambda frames: pool_latents(model.encode(frames))
