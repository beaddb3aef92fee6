"""Terms that keep latents from collapsing, over the statistics of the global batch.

Each takes pooled latents ``[b d]`` of this rank and ``mean``, which averages a tensor over ranks and is
differentiable (the identity on one process); each returns one number, the same on every rank.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

Mean = Callable[[Tensor], Tensor]


def variance_term(x: Float[Tensor, "b d"], mean: Mean, *, target: float = 1.0) -> Float[Tensor, ""]:
    """Penalise dimensions whose standard deviation is below ``target`` (VICReg, arXiv:2105.04906, eq. 1)."""
    x = x.float()
    centred = x - mean(x.mean(dim=0))
    variance = mean(centred.square().mean(dim=0))
    return (target - (variance + 1e-4).sqrt()).relu().mean()


def covariance_term(x: Float[Tensor, "b d"], mean: Mean) -> Float[Tensor, ""]:
    """Penalise correlated dimensions: squared off-diagonal covariance over the width (VICReg, eq. 4)."""
    x = x.float()
    centred = x - mean(x.mean(dim=0))
    covariance = mean(centred.T @ centred / len(x))
    off_diagonal = covariance - torch.diag(covariance.diagonal())
    return off_diagonal.square().sum() / x.shape[1]


def sigreg_term(
    x: Float[Tensor, "b d"],
    mean: Mean,
    *,
    generator: torch.Generator,
    num_projections: int = 1024,
    knots: int = 17,
    batch_size: int | None = None,
) -> Float[Tensor, ""]:
    """Pull the batch towards an isotropic standard normal along random directions (LeJEPA, arXiv:2511.08544).

    The Epps-Pulley statistic of each projection: the squared distance between its empirical characteristic
    function and that of a standard normal, integrated over [0, 3] by the trapezoid rule with weights
    exp(-t^2/2), times the global batch size, averaged over projections.

    Args:
        x: pooled latents of this rank.
        mean: average over ranks.
        generator: draws the directions; the same on every rank.
        num_projections: how many directions.
        knots: at how many points the characteristic functions are compared.
        batch_size: rows of the global batch (left out: those of ``x``).
    """
    x = x.float()
    directions = torch.randn(x.shape[1], num_projections, generator=generator).to(x.device)
    projected = x @ (directions / directions.norm(dim=0))
    t = torch.linspace(0, 3, knots, device=x.device)
    normal = torch.exp(-t.square() / 2)
    weights = torch.full_like(t, 3 / (knots - 1))
    weights[[0, -1]] /= 2
    angles = projected.unsqueeze(-1) * t  # [b projections knots]
    real, imaginary = mean(angles.cos().mean(dim=0)), mean(angles.sin().mean(dim=0))
    distance = (real - normal).square() + imaginary.square()
    return (distance @ (weights * normal)).mean() * (batch_size or len(x))


def consistency_term(x: Float[Tensor, "b d"], y: Float[Tensor, "b d"]) -> Float[Tensor, " b"]:
    """Return half the squared distance between the unit latents of two clips of each video (0 to 2)."""
    return 1 - torch.nn.functional.cosine_similarity(x.float(), y.float(), dim=-1)
