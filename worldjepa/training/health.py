"""Is my run healthy? Gauges of a batch's latents and predictions (``alarm.py`` judges them)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from worldjepa.types import Grid, Masks

_MAX_TOKENS = 4096  # rows of the matrix whose rank is measured; its cost is rows * d^2


@dataclass(frozen=True)
class Gauges:
    """One look at a batch's latents and predictions.

    ``std``: standard deviation over clips at the same place, mean over dimensions, as a share of the
    latents' root mean square (0 to about 1); ``std_lowest``: that of the least varying dimension.
    ``raw_std`` and ``raw_scale`` (root mean square): of the encoder's output before LayerNorm, which
    hides a shrinking scale. ``effective_rank``: 1 to d. ``cosine``: mean over pairs of clips, of latents
    pooled over the clip. ``predictor``: the predictor's loss; ``copy_nearest`` and ``mean_latent``:
    those of two predictors that learnt nothing (NaN where no latents are predicted).
    """

    std: float
    std_lowest: float
    raw_std: float
    raw_scale: float
    effective_rank: float
    cosine: float
    predictor: float = math.nan
    copy_nearest: float = math.nan
    mean_latent: float = math.nan


@torch.no_grad()
def measure(
    raw: Float[Tensor, "b n d"],
    targets: Float[Tensor, "b n d"],
    predictions: Sequence[Tensor],
    masks: Sequence[Masks],
    grid: Grid,
    loss: Callable[[Tensor, Tensor], Tensor],
) -> Gauges:
    """Take the gauges of one batch of at least two clips.

    ``raw`` is the target encoder's output for the full clips and ``targets`` the same as the loss sees
    it; ``predictions[i] [b m_i d]`` belongs to ``masks[i]``; ``loss(prediction, target)`` is the run's
    own (what it returns is averaged). Without predictions the latents may be those of some tokens only.
    """
    if raw.shape[0] < 2 or (predictions and raw.shape[1] != grid.n):
        raise ValueError(f"got latents {tuple(raw.shape)}; gauges need 2 clips or more of {grid.n} tokens")
    raw, targets = raw.float(), targets.float()
    scale = targets.square().mean().sqrt().clamp_min(torch.finfo(torch.float32).tiny)
    spread, raw_spread = spread_over_clips(targets) / scale, spread_over_clips(raw)
    losses: list[list[float]] = []
    mean = targets.mean(dim=(0, 1))
    for prediction, mask in zip(predictions, masks, strict=True):
        truth = _take(targets, mask.target)
        copied = _take(targets, nearest_visible(mask, grid))
        guesses = (prediction.float(), copied, mean.expand_as(truth))
        losses.append([loss(guess, truth).mean().item() for guess in guesses])
    compared = [sum(column) / len(losses) for column in zip(*losses, strict=True)]
    return Gauges(
        std=spread.mean().item(),
        std_lowest=spread.min().item(),
        raw_std=raw_spread.mean().item(),
        raw_scale=raw.square().mean().sqrt().item(),
        effective_rank=effective_rank(_some_rows(targets.flatten(0, 1))),
        cosine=mean_cosine(targets.mean(dim=1)),
        **dict(zip(("predictor", "copy_nearest", "mean_latent"), compared, strict=False)),
    )


def spread_over_clips(latents: Float[Tensor, "b n d"]) -> Float[Tensor, " d"]:
    """Return each dimension's standard deviation over clips at the same place, averaged over places.

    An encoder that tells places apart but not clips has none.
    """
    return latents.var(dim=0, correction=1).mean(dim=0).sqrt()


def effective_rank(rows: Float[Tensor, "n d"]) -> float:
    """Return RankMe: exp of the entropy of the singular values, normalised to sum 1 (arXiv:2210.02885).

    The rows are not centred, as in the paper: latents that are all the same have rank 1.
    """
    rows = rows.double()
    if not rows.isfinite().all():
        return math.nan
    gram = rows.T @ rows if rows.shape[0] >= rows.shape[1] else rows @ rows.T
    singular = torch.linalg.eigvalsh(gram).clamp_min(0.0).sqrt()
    total = singular.sum()
    if total <= 0.0:
        return 1.0  # all zero: as collapsed as can be
    share = singular / total
    return torch.special.entr(share).sum().exp().item()


def mean_cosine(pooled: Float[Tensor, "b d"]) -> float:
    """Return the mean cosine between different rows, 1 where they are all alike (or all zero)."""
    unit = torch.nn.functional.normalize(pooled.double(), dim=1)
    if not unit.any():
        return 1.0
    b = len(unit)
    return ((unit.sum(dim=0).square().sum() - unit.square().sum()) / (b * (b - 1))).item()


def nearest_visible(masks: Masks, grid: Grid) -> Int[Tensor, "b m"]:
    """Return, for every target token, the id of the context token nearest to it in the (t, h, w) grid.

    Of equally near ones it is the one with the lowest id.
    """
    rows = []
    for context, target in zip(_places(masks.context, grid), _places(masks.target, grid), strict=True):
        # Row by row and axis by axis: [b m k 3] of long clips does not fit into memory.
        distance = torch.zeros(len(target), len(context), dtype=torch.int32, device=target.device)
        for axis in range(3):
            distance += (target[:, None, axis] - context[None, :, axis]).square()
        rows.append(distance.argmin(dim=1))
    return masks.context.gather(1, torch.stack(rows))


def _places(ids: Int[Tensor, "b k"], grid: Grid) -> Int[Tensor, "b k 3"]:
    return torch.stack([ids // grid.p, ids // grid.w % grid.h, ids % grid.w], dim=-1).int()


def _take(latents: Float[Tensor, "b n d"], ids: Int[Tensor, "b k"]) -> Float[Tensor, "b k d"]:
    return latents.gather(1, ids[..., None].expand(-1, -1, latents.shape[-1]))


def _some_rows(rows: Float[Tensor, "n d"]) -> Float[Tensor, "_k d"]:
    """Return at most ``_MAX_TOKENS`` rows, always the same ones, drawn so as not to favour any place."""
    if len(rows) <= _MAX_TOKENS:
        return rows
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))
    return rows[order[:_MAX_TOKENS].to(rows.device)]
