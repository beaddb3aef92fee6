"""How far predicted latents are from a goal. No model is known here.

A cost is any callable ``(futures [b s l p d], actions [b s l a], goal) -> [b s]``: pure and differentiable. A
goal is a latent ``[b p d]`` (one row stands for all), a list of them to be met in this order (within one
plan, which has to be long enough), or any callable on futures.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from worldjepa.planning.reductions import Reduction, soon

Cost = Callable[[Tensor, Tensor, Any], Tensor]
Metric = Callable[[Tensor, Tensor], Tensor]


def goal_l1(
    futures: Float[Tensor, "b s l p d"],
    actions: Float[Tensor, "b s l a"],
    goal: Any,
    *,
    reduce: Reduction = soon,
) -> Float[Tensor, "b s"]:
    """Return the mean absolute difference from the goal, reduced over the plan steps."""
    return _toward(futures, goal, lambda x, y: (x - y).abs().mean(dim=(-2, -1)), reduce)


def goal_l2(
    futures: Float[Tensor, "b s l p d"],
    actions: Float[Tensor, "b s l a"],
    goal: Any,
    *,
    reduce: Reduction = soon,
) -> Float[Tensor, "b s"]:
    """Return the mean squared difference from the goal, reduced over the plan steps."""
    return _toward(futures, goal, lambda x, y: (x - y).square().mean(dim=(-2, -1)), reduce)


def goal_cosine(
    futures: Float[Tensor, "b s l p d"],
    actions: Float[Tensor, "b s l a"],
    goal: Any,
    *,
    reduce: Reduction = soon,
) -> Float[Tensor, "b s"]:
    """Return one minus the cosine similarity with the goal, mean over tokens, reduced over the plan steps."""
    return _toward(futures, goal, lambda x, y: (1 - F.cosine_similarity(x, y, dim=-1)).mean(dim=-1), reduce)


def _toward(
    futures: Float[Tensor, "b s l p d"], goal: Any, metric: Metric, reduce: Reduction
) -> Float[Tensor, "b s"]:
    if callable(goal):
        costs: Tensor = goal(futures)  # pyright: ignore[reportAssignmentType]
        return costs if costs.ndim == 2 else reduce(costs)
    futures = futures if futures.dtype == torch.float64 else futures.float()
    if isinstance(goal, list | tuple) and goal:
        return _in_order([metric(futures, _checked(one, futures)) for one in goal])
    return reduce(metric(futures, _checked(goal, futures)))


def _in_order(distances: list[Float[Tensor, "b s l"]]) -> Float[Tensor, "b s"]:
    """Return the least sum of distances at which sub-goals are met one after the other.

    By dynamic programming: the best that meets a sub-goal at a plan step or before continues the best of the
    sub-goals before it.
    """
    best = torch.zeros_like(distances[0])
    for one in distances:
        best = (best + one).cummin(dim=-1).values
    return best[..., -1]


def _checked(goal: Any, futures: Tensor) -> Float[Tensor, "b 1 1 p d"]:
    """Return a goal latent lined up with futures."""
    expected = (futures.shape[0], *futures.shape[-2:])
    if not isinstance(goal, Tensor) or goal.shape not in (expected, (1, *expected[1:])):
        came = tuple(goal.shape) if isinstance(goal, Tensor) else type(goal).__name__
        raise ValueError(
            f"a goal must be a latent [b p d] = {expected}, a list of them, or a callable on futures, got "
            f"{came}; model.encode(frames)[:, -1] gives latents, proprioception_l2(model) takes a measured "
            "state"
        )
    return goal[:, None, None].to(futures)
