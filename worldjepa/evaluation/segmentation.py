"""Segmentation by a linear map of each token to the pixels it stands for: where is a shape, where is none?"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float, Float16
from torch import Tensor, nn

from worldjepa.evaluation.findings import Figure
from worldjepa.evaluation.heads import Schedule, apply, fit_heads
from worldjepa.evaluation.intervals import bootstrap
from worldjepa.types import Grid

CELLS = 8  # at most so many cells along the side of a token's patch


class Standardise(nn.Module):
    """Shift and scale tokens by the statistics of those that a probe is fitted to."""

    mean: Tensor
    std: Tensor

    def __init__(self, tokens: Float16[Tensor, "n t p d"]):
        super().__init__()
        some = tokens[:512].flatten(0, 2).float()
        self.register_buffer("mean", some.mean(dim=0))
        self.register_buffer("std", some.std(dim=0).clamp_min(1e-6))

    def forward(self, tokens: Float[Tensor, "b t p d"]) -> Float[Tensor, "b t p d"]:
        """Return tokens of about zero mean and unit variance."""
        return (tokens - self.mean) / self.std


def cell_masks(masks: Bool[Tensor, "n t y x"], grid: Grid) -> Bool[Tensor, "n t p c"]:
    """Return which cells of each token's patch are mostly covered, row by row."""
    patch = masks.shape[-2] // grid.h
    cells = max(count for count in range(1, CELLS + 1) if patch % count == 0)
    small = F.adaptive_avg_pool2d(masks.float(), (grid.h * cells, grid.w * cells)) > 0.5
    return rearrange(small, "n t (h i) (w j) -> n t (h w) (i j)", h=grid.h, w=grid.w)


def segment(
    fit: tuple[Float16[Tensor, "n t p d"], Bool[Tensor, "n t p c"]],
    judge: tuple[Float16[Tensor, "m t p d"], Bool[Tensor, "m t p c"]],
    schedule: Schedule,
    device: torch.device,
) -> Figure:
    """Fit the map to tokens and their cells; return the mean IoU of other clips."""
    tokens, cells = fit
    made = fit_heads(
        tokens,
        lambda: nn.Sequential(Standardise(tokens), nn.Linear(tokens.shape[-1], cells.shape[-1])),
        lambda out, ids: F.binary_cross_entropy_with_logits(out, cells[ids].to(out)),
        lambda out, ids: mean_iou(out > 0, cells[ids]),
        schedule,
        device,
    )
    return iou_figure(apply(made.head, judge[0], device) > 0, judge[1])


def overlaps(guess: Bool[Tensor, "n t p c"], truth: Bool[Tensor, "n t p c"]) -> Float[Tensor, "n 2 2"]:
    """Return the intersection and the union of each clip, in cells, of background and of shapes."""
    by_class = [
        torch.stack([(a & b).flatten(1).sum(dim=1), (a | b).flatten(1).sum(dim=1)], dim=1)
        for a, b in ((~guess, ~truth), (guess, truth))
    ]
    return torch.stack(by_class, dim=1).double()


def iou_figure(guess: Bool[Tensor, "n t p c"], truth: Bool[Tensor, "n t p c"]) -> Figure:
    """Return the mean IoU of all clips together, with its interval over clips."""
    parts = overlaps(guess, truth)
    return Figure(_mean_iou(parts), *bootstrap(lambda ids: _mean_iou(parts[ids]), len(parts)))


def mean_iou(guess: Bool[Tensor, "n t p c"], truth: Bool[Tensor, "n t p c"]) -> Tensor:
    """Return the IoU of background and of shapes, each over all cells of all clips, and their mean."""
    return torch.tensor(_mean_iou(overlaps(guess, truth)))


def _mean_iou(parts: Tensor) -> float:
    intersection, union = parts.sum(dim=0).unbind(dim=1)
    return float((intersection / union.clamp_min(1)).mean())
