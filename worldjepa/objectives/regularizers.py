"""Terms that keep latents from collapsing, over the statistics of the global batch.

Each takes latents of this rank, ``[b d]`` or ``[b g d]`` with groups (places, latent steps) whose statistics
over ``b`` stand apart, and ``mean``, which averages a tensor over ranks and is differentiable (the identity
on one process); each returns one number, the same on every rank.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

Mean = Callable[[Tensor], Tensor]


def variance_term(x: Float[Tensor, "b *g d"], mean: Mean, *, target: float = 1.0) -> Float[Tensor, ""]:
    """Penalise dimensions whose standard deviation is below ``target`` (VICReg, arXiv:2105.04906, eq. 1)."""
    x = x.float()
    centred = x - mean(x.mean(dim=0))
    variance = mean(centred.square().mean(dim=0))
    return (target - (variance + 1e-4).sqrt()).relu().mean()


def covariance_term(x: Float[Tensor, "b *g d"], mean: Mean) -> Float[Tensor, ""]:
    """Penalise correlated dimensions: squared off-diagonal covariance over the width (VICReg, eq. 4).

    The covariance is that within groups: of what is left when each group's mean is taken away.
    """
    x = x.float()
    centred = (x - mean(x.mean(dim=0))).flatten(0, -2)
    with torch.autocast(x.device.type, enabled=False):
        covariance = mean(centred.T @ centred / len(centred))
    off_diagonal = covariance - torch.diag(covariance.diagonal())
    return off_diagonal.square().sum() / x.shape[-1]


def sigreg_term(
    x: Float[Tensor, "b *g d"],
    mean: Mean,
    *,
    generator: torch.Generator,
    num_projections: int = 1024,
    knots: int = 17,
    batch_size: int | None = None,
) -> Float[Tensor, ""]:
    """Pull the batch towards an isotropic standard normal along random directions (LeJEPA, arXiv:2511.08544).

    The Epps-Pulley statistic of each projection: the squared distance between its empirical characteristic
    function and that of a standard normal, integrated over [-3, 3] by the trapezoid rule with weights
    exp(-t^2/2), times the global batch size, averaged over projections and groups. The functions are even, so
    that half of the range is computed and counted twice, as in the public code of LeJEPA and LeWM.

    Args:
        x: latents of this rank; LeWM's groups are the latent steps.
        mean: average over ranks.
        generator: draws the directions; the same on every rank, and for all groups.
        num_projections: how many directions.
        knots: at how many points of [0, 3] the characteristic functions are compared.
        batch_size: rows of the global batch (left out: those of ``x``).
    """
    x = x.float()
    directions = torch.randn(x.shape[-1], num_projections, generator=generator).to(x.device)
    with torch.autocast(x.device.type, enabled=False):
        projected = x @ (directions / directions.norm(dim=0))
    gap = 3 / (knots - 1)
    t = torch.arange(knots, device=x.device) * gap
    normal = torch.exp(-t.square() / 2)
    weights = torch.full_like(t, 2 * gap)
    weights[[0, -1]] /= 2
    real, imaginary = mean(_Characteristic.apply(projected, knots, gap))  # [2 *g projections knots]
    distance = (real - normal).square() + imaginary.square()
    return (distance * (weights * normal)).sum(dim=-1).mean() * (batch_size or len(x))


class _Characteristic(torch.autograd.Function):
    """Means over the first axis of cos(k * gap * x) and sin(k * gap * x), k from 0 to ``knots`` - 1.

    Each knot follows from the one before by a rotation, forward and backward, and none is kept: a fraction of
    the time and memory of a table of angles.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, knots: int, gap: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.knots, ctx.gap = knots, gap
        means = [torch.stack([c.mean(dim=0), s.mean(dim=0)]) for c, s in _rotations(x * gap, knots)]
        return torch.stack(means, dim=-1)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (x,) = ctx.saved_tensors
        total = torch.zeros_like(x)
        slopes = gradient * (torch.arange(ctx.knots, device=x.device) * (ctx.gap / len(x)))
        for k, (c, s) in enumerate(_rotations(x * ctx.gap, ctx.knots)):
            total.addcmul_(s, slopes[0, ..., k], value=-1).addcmul_(c, slopes[1, ..., k])
        return total, None, None


def _rotations(angle: Tensor, count: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield cos(k * angle) and sin(k * angle), k from 0 to ``count`` - 1; the next overwrites them."""
    cos, sin = angle.cos(), angle.sin()
    c, s, spare = torch.ones_like(angle), torch.zeros_like(angle), torch.empty_like(angle)
    yield c, s
    for _ in range(count - 1):
        torch.mul(c, cos, out=spare).addcmul_(s, sin, value=-1)
        s.mul_(cos).addcmul_(c, sin)
        c, spare = spare, c
        yield c, s


def consistency_term(x: Float[Tensor, "b d"], y: Float[Tensor, "b d"]) -> Float[Tensor, " b"]:
    """Return half the squared distance between the unit latents of two clips of each video (0 to 2)."""
    return 1 - torch.nn.functional.cosine_similarity(x.float(), y.float(), dim=-1)
