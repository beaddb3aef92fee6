"""Model predictive path integral control: all candidates count, the better the more."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from worldjepa.planning.distribution import BoxProposal
from worldjepa.planning.noise import Generators
from worldjepa.planning.search import CostFn, resample
from worldjepa.types import ActionDist, Plan


def mppi(
    cost_fn: CostFn,
    init: ActionDist,
    *,
    bounds: tuple[Any, Any],
    iterations: int = 6,
    num_samples: int = 300,
    temperature: float = 0.1,
    min_std: float = 0.01,
    momentum: float = 0.0,
    generator: Generators = None,
    time_budget_s: float | None = None,
) -> Plan:
    """Minimise a cost by path integral control (Williams et al., arXiv:1509.01149), iterated.

    Mean and standard deviation become those of all candidates, weighted by exp(-cost / temperature) (the
    standard deviation too, as in TD-MPC, arXiv:2203.04955). What is not named here is as in ``cem``.

    Args:
        cost_fn: costs of candidates.
        init: where to look first.
        bounds: lowest and highest action block.
        iterations: refits.
        num_samples: candidates a row and iteration.
        temperature: in units of how far the row's mean cost lies above its lowest, so that the scale of the
            costs does not matter; small is greedy.
        min_std: floor of the standard deviation, as a share of the bounds' width.
        momentum: share of the old mean and std that a refit keeps.
        generator: of the samples.
        time_budget_s: stop in time.

    Raises:
        ValueError: as ``cem``; or a temperature that is not positive.
    """
    proposal = BoxProposal.of(init, bounds, min_std=min_std, momentum=momentum)
    if not temperature > 0 or num_samples < 2:
        raise ValueError(
            f"expected temperature > 0 and at least 2 samples, got {temperature} and {num_samples}"
        )
    return resample(
        cost_fn,
        init,
        proposal,
        partial(soft_weights, temperature=temperature),
        counts=[num_samples] * iterations,
        generator=generator,
        time_budget_s=time_budget_s,
    )


def soft_weights(costs: Float[Tensor, "b s"], temperature: float) -> Float[Tensor, "b s"]:
    """Weigh finite costs by a softmax that no scale and no outlier overflows; rows without any: all 0."""
    finite, wide = costs.isfinite(), costs.double()  # sums of the largest float32 numbers stay finite
    lowest = wide.min(dim=1, keepdim=True).values
    above = torch.where(finite, wide - lowest, 0)
    scale = above.sum(dim=1, keepdim=True) / finite.sum(dim=1, keepdim=True).clamp_min(1)
    logits = -above / (temperature * scale).clamp_min(torch.finfo(torch.float64).tiny)
    powers = torch.where(finite, logits.exp(), 0)
    return (powers / powers.sum(dim=1, keepdim=True).clamp_min(1)).to(
        costs.dtype
    )  # the best one's power is 1
