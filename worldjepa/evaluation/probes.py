"""Linear probe and k-NN on frozen features: how well do they tell the labels apart?

Both are fitted on one set of files and scored on held-out ones. Features are standardised by the training
part's statistics. The linear probe is multinomial logistic regression; its weight decay is chosen on a fifth
of the training part, never on the held-out files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from worldjepa.evaluation.intervals import wilson
from worldjepa.types import Batch

DECAYS = (1e-4, 1e-3, 1e-2, 1e-1)
NEIGHBOURS = 10


class NoProbeError(ValueError):
    """The clips have too few labels to tell anything apart."""


@dataclass(frozen=True)
class Features:
    """Features ``[n d]`` and labels ``[n]`` of a set of clips."""

    values: Float[Tensor, "n d"]
    labels: Int[Tensor, " n"]


@dataclass(frozen=True)
class Score:
    """Accuracies on the held-out clips, each with the bounds of its 95 % Wilson interval."""

    linear: float
    linear_low: float
    linear_high: float
    knn: float
    knn_low: float
    knn_high: float


@torch.no_grad()
def extract(batches: Iterable[Batch], ways: Sequence[Callable[[Tensor], Tensor]]) -> list[Features]:
    """Describe every labelled clip by one vector in each of several ways, decoding it once.

    A way is ``describe(frames [b f c y x]) -> [b d]``. Clips of unknown label (-1) are left out.
    """
    values: list[list[Tensor]] = [[] for _ in ways]
    labels = [torch.zeros(0, dtype=torch.long)]
    for batch in batches:
        assert batch.labels is not None
        known = batch.labels >= 0
        labels.append(batch.labels[known])
        for column, describe in zip(values, ways, strict=True):
            column.append(describe(batch.frames[known]).float().cpu())
    return [Features(torch.cat(column), torch.cat(labels)) for column in values]


def pool_latents(latents: Float[Tensor, "b t p d"]) -> Float[Tensor, "b td"]:
    """Average over space and keep the latent steps, so that motion can show."""
    return latents.mean(dim=2).flatten(1)


def pool_pixels(frames: Tensor, side: int = 16) -> Float[Tensor, "b pixels"]:
    """Describe a clip by its raw pixels, each frame averaged down to ``side`` x ``side``."""
    b, f = frames.shape[:2]
    small = F.adaptive_avg_pool2d(frames.flatten(0, 1).float() / 255, side)
    return small.reshape(b, f * small[0].numel())


def probe(train: Features, held_out: Features) -> Score:
    """Fit both probes on ``train`` and score them on ``held_out``.

    Raises:
        NoProbeError: fewer than two classes, or nothing to score on.
    """
    n, labels = len(held_out.labels), held_out.labels
    linear = int((linear_probe(train, held_out).argmax(dim=1) == labels).sum())
    knn = int((knn_probe(train, held_out).argmax(dim=1) == labels).sum())
    return Score(linear / n, *wilson(linear, n), knn / n, *wilson(knn, n))


def linear_probe(train: Features, held_out: Features) -> Float[Tensor, "n classes"]:
    """Fit logistic regression; return the probability of each class for each held-out row.

    Its weight decay is chosen on a fifth of the training rows.

    Raises:
        NoProbeError: as of ``probe``.
    """
    train, held_out, classes = _standardised(train, held_out)
    fifth = torch.randperm(len(train.labels), generator=torch.Generator().manual_seed(0)) % 5 == 0
    fit = Features(train.values[~fifth], train.labels[~fifth])
    scores = []
    for decay in DECAYS:
        weights, bias = _logistic(fit, classes, decay)
        guess = (train.values[fifth] @ weights + bias).argmax(dim=1)
        scores.append(float((guess == train.labels[fifth]).float().mean()))
    best = DECAYS[max(range(len(DECAYS)), key=lambda i: (scores[i], DECAYS[i]))]
    weights, bias = _logistic(train, classes, best)
    return (held_out.values @ weights + bias).softmax(dim=1)


def knn_probe(train: Features, held_out: Features) -> Float[Tensor, "n classes"]:
    """Return the share of the votes of the nearest training rows, weighted by cosine similarity.

    Raises:
        NoProbeError: as of ``probe``.
    """
    train, held_out, classes = _standardised(train, held_out)
    similarity = F.normalize(held_out.values, dim=1) @ F.normalize(train.values, dim=1).T
    top = similarity.topk(min(NEIGHBOURS, len(train.labels)), dim=1)
    votes = torch.zeros(len(held_out.values), classes)
    votes.scatter_add_(1, train.labels[top.indices], (top.values / 0.1).exp())
    return votes / votes.sum(dim=1, keepdim=True)


def _standardised(train: Features, held_out: Features) -> tuple[Features, Features, int]:
    """Return both parts by the training part's mean and standard deviation, and the number of classes."""
    classes = int(train.labels.max()) + 1 if len(train.labels) else 0
    if len(torch.unique(train.labels)) < 2 or not len(held_out.labels):
        raise NoProbeError(
            f"a probe needs 2 classes or more and held-out clips; got {classes} classes, "
            f"{len(train.labels)} training and {len(held_out.labels)} held-out clips"
        )
    classes = max(classes, int(held_out.labels.max()) + 1)
    mean, std = train.values.mean(dim=0), train.values.std(dim=0).clamp_min(1e-6)
    fit, judge = (Features((part.values - mean) / std, part.labels) for part in (train, held_out))
    return fit, judge, classes


@torch.enable_grad()
def _logistic(train: Features, classes: int, decay: float) -> tuple[Tensor, Tensor]:
    """Minimise cross-entropy plus ``decay`` times the squared weights, by L-BFGS from zero."""
    width = train.values.shape[1]
    weights = torch.zeros(width, classes, requires_grad=True)
    bias = torch.zeros(classes, requires_grad=True)
    solver = torch.optim.LBFGS([weights, bias], max_iter=60, history_size=10, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        solver.zero_grad()
        loss = F.cross_entropy(train.values @ weights + bias, train.labels) + decay * weights.square().sum()
        loss.backward()
        return loss

    solver.step(closure)
    return weights.detach(), bias.detach()
