"""From a distance at every plan step to one cost: ``[.. l] -> [..]``.

Which one is used matters more than the planner: with the last step alone, a plan is free to arrive late.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

Reduction = Callable[[Tensor], Tensor]


def last(steps: Float[Tensor, "*b l"]) -> Float[Tensor, "*b"]:
    """Return the distance at the end of the plan."""
    return steps[..., -1]


def mean(steps: Float[Tensor, "*b l"]) -> Float[Tensor, "*b"]:
    """Return the mean over the plan."""
    return steps.mean(dim=-1)


def smallest(steps: Float[Tensor, "*b l"]) -> Float[Tensor, "*b"]:
    """Return the smallest distance on the way: for tasks that are done once the goal is touched."""
    return steps.min(dim=-1).values


def last_plus(share: float) -> Reduction:
    """Return the distance at the end plus ``share`` of each earlier one: arrive soon, and stay."""

    def reduce(steps: Float[Tensor, "*b l"]) -> Float[Tensor, "*b"]:
        return steps[..., -1] + share * steps[..., :-1].sum(dim=-1)

    return reduce


soon = last_plus(0.1)  # the default of costs


def discounted(discount: float) -> Reduction:
    """Return the mean weighted by ``discount ** step``; below 1 the first steps count most."""

    def reduce(steps: Float[Tensor, "*b l"]) -> Float[Tensor, "*b"]:
        weights = discount ** torch.arange(steps.shape[-1], device=steps.device, dtype=steps.dtype)
        return (steps * weights).sum(dim=-1) / weights.sum()

    return reduce
