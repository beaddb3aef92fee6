"""Gauges of a representation that need no labels: rank, spread, agreement of views, straightness in time."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from worldjepa.training.health import effective_rank

WITHIN = 1e-4  # added to the spread within clips, as in LiDAR's paper
DEAD = 0.01  # a dimension that varies less than this share of the mean one is dead


def rankme(latents: Float[Tensor, "n d"]) -> float:
    """Return RankMe (arXiv:2210.02885): exp of the entropy of the normalised singular values, 1 to d."""
    return effective_rank(latents)


def lidar(views: Float[Tensor, "n v d"]) -> float:
    """Return LiDAR (arXiv:2312.04000, section 3): the rank of what tells clips apart and not their views.

    exp of the entropy of the normalised eigenvalues of the between-clip covariance whitened by the
    within-clip one (linear discriminant analysis with each clip as a class): 1 to min(n - 1, d).
    """
    views = views.double()
    means = views.mean(dim=1)
    apart = means - means.mean(dim=0)
    inside = (views - means[:, None]).flatten(0, 1)
    between = apart.T @ apart / len(apart)
    within = inside.T @ inside / len(inside) + WITHIN * torch.eye(views.shape[-1], dtype=torch.float64)
    values, vectors = torch.linalg.eigh(within)
    whiten = vectors * values.rsqrt()
    spectrum = torch.linalg.eigvalsh(whiten.T @ between @ whiten).clamp_min(0)
    if not spectrum.any():
        return 1.0
    return float(torch.special.entr(spectrum / spectrum.sum()).sum().exp())


def variance(latents: Float[Tensor, "n d"]) -> tuple[float, float, float]:
    """Return the mean and the least variance of a dimension over clips, and the share of dead dimensions."""
    each = latents.double().var(dim=0)
    dead = (each <= DEAD * each.mean()).double().mean()
    return float(each.mean()), float(each.min()), float(dead)


def alignment(views: Float[Tensor, "n v d"]) -> tuple[float, float]:
    """Return the mean squared distance on the unit sphere of two views of one clip, and of different clips.

    Wang and Isola (arXiv:2005.10242, section 4): 0 where views agree, 2 where they are unrelated; what counts
    is the first beside the second.
    """
    unit = F.normalize(views.double(), dim=-1)
    n, v, _ = unit.shape
    total, own = unit.sum(dim=(0, 1)), unit.sum(dim=1)
    same = (own.square().sum() - n * v) / (n * v * (v - 1))  # mean cosine of two views of a clip
    other = (total.square().sum() - own.square().sum()) / (n * (n - 1) * v * v)
    return float(2 - 2 * same), float(2 - 2 * other)


def straightness(paths: Float[Tensor, "n t d"]) -> float:
    """Return the mean cosine of successive steps of a path through latent space: 1 where it is straight.

    Henaff et al., Perceptual straightening of natural videos (2019): 1 minus curvature is its arc's; paths
    that stand still count as 0.

    Raises:
        ValueError: fewer than three latent steps.
    """
    if paths.shape[1] < 3:
        raise ValueError(f"straightness needs 3 latent steps or more, got {paths.shape[1]}")
    steps = paths.double().diff(dim=1)
    return float(F.cosine_similarity(steps[:, 1:], steps[:, :-1], dim=-1).mean())
