"""What planners minimise, and the bridge from planners to world models.

A cost is any callable ``(futures [b s l p d], actions [b s l a], goal) -> [b s]``; what a goal is, only the
cost has to know. They compose: ``weighted((1.0, goal_l2), (0.01, action_penalty))``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from worldjepa.planning.goal_costs import Cost, goal_l2
from worldjepa.planning.reductions import Reduction, soon
from worldjepa.planning.search import CostFn

if TYPE_CHECKING:
    from worldjepa.planning.world import World

CPU_ROLLOUTS = 3000  # of 5 steps through small predictors; medians of 3 on one core


def rollout_cost(
    model: World,
    latents: Float[Tensor, "b t p d"],
    goal: Any,
    *,
    cost: Cost = goal_l2,
    past_actions: Float[Tensor, "b _ a"] | None = None,
    lengths: Int[Tensor, " b"] | None = None,
    proprioception: Float[Tensor, "b t q"] | None = None,
    max_rollouts: int | None = None,
) -> CostFn:
    """Return the cost of what the model predicts under candidate actions: all that a planner has to know.

    The context is read here, once, whatever the number of calls.

    Args:
        model: a world model with an action predictor, in eval mode.
        latents: the context; so are the three after ``cost`` (see ``WorldModel.rollout``).
        goal: what ``cost`` takes as one.
        cost: what to make of futures, actions and goal.
        past_actions: the blocks that led from each latent of the context to the next.
        lengths: how many last latents of each row are real.
        proprioception: measured at each latent of the context.
        max_rollouts: how many futures, of all rows together, are predicted at once (memory; left out: on a
            CPU 3,000, more leave its caches, elsewhere all).
    """
    if max_rollouts is None and model.device.type == "cpu":
        max_rollouts = CPU_ROLLOUTS
    state = model.start(latents, past_actions=past_actions, lengths=lengths, proprioception=proprioception)

    def cost_fn(actions: Float[Tensor, "b s l a"]) -> Float[Tensor, "b s"]:
        size = actions.shape[1] if max_rollouts is None else max(1, max_rollouts // len(actions))
        parts = actions.split(size, dim=1)
        return torch.cat([cost(model.futures(state, part), part, goal) for part in parts], dim=1)

    return cost_fn


def proprioception_l2(
    model: World, *, weights: Float[Tensor, " q"] | None = None, reduce: Reduction = soon
) -> Cost:
    """Return the cost of being far from a proprioceptive state, the goal ``[b q]``, as the model's head
    reads it.

    The squared difference, averaged over components; ``weights`` of them, for units that differ. A goal of
    one row stands for all.
    """
    head = _head(model, "proprioception")

    def cost(futures: Tensor, actions: Tensor, goal: Any) -> Float[Tensor, "b s"]:
        read = _read(head, futures)
        expected = (len(read), read.shape[-1])
        if not isinstance(goal, Tensor) or goal.shape not in (expected, (1, expected[1])):
            came = tuple(goal.shape) if isinstance(goal, Tensor) else type(goal).__name__
            raise ValueError(f"the goal must be a state [b q] = {expected}, got {came}")
        squares = (read - goal[:, None, None].to(read)).square()
        return reduce((squares if weights is None else squares * weights.to(read)).mean(dim=-1))

    return cost


def reward_cost(
    model: World, *, discount: float = 1.0, value: Callable[[Tensor], Tensor] | None = None
) -> Cost:
    """Return minus the discounted sum of predicted rewards, whatever the goal.

    With a termination head, each reward counts by the chance that the episode still runs. ``value(latents
    [.. p d]) -> [..]`` is what the last latent is worth beyond the plan.
    """
    head = _head(model, "reward")

    def cost(futures: Tensor, actions: Tensor, goal: Any) -> Float[Tensor, "b s"]:
        rewards = _read(head, futures)
        steps = torch.arange(rewards.shape[-1] + 1, device=rewards.device)
        share = discount**steps * torch.ones_like(rewards[..., :1])
        if "termination" in model.heads:
            running = _still_running(model, futures)
            share = share * torch.cat([torch.ones_like(running[..., :1]), running], dim=-1)
        total = (share[..., :-1] * rewards).sum(dim=-1)
        return -(total if value is None else total + share[..., -1] * value(futures[:, :, -1]))

    return cost


def termination_cost(model: World) -> Cost:
    """Return the predicted chance that the episode ends within the plan, whatever the goal."""
    _head(model, "termination")
    return lambda futures, actions, goal: 1 - _still_running(model, futures)[..., -1]


def action_penalty(
    futures: Float[Tensor, "b s l p d"], actions: Float[Tensor, "b s l a"], goal: Any
) -> Float[Tensor, "b s"]:
    """Return the mean squared action."""
    return actions.square().mean(dim=(-2, -1))


def constraint(violation: Callable[[Tensor, Tensor], Tensor], *, weight: float = 1e3) -> Cost:
    """Return a penalty on ``violation(futures, actions) -> [b s l]`` or ``[b s]`` where it is above 0."""

    def cost(futures: Tensor, actions: Tensor, goal: Any) -> Float[Tensor, "b s"]:
        above = violation(futures, actions).relu()
        return weight * (above if above.ndim == 2 else above.sum(dim=-1))

    return cost


def weighted(*terms: tuple[float, Cost]) -> Cost:
    """Return the sum of costs, each times its weight."""
    if not terms:
        raise ValueError("weighted needs at least one (weight, cost)")
    return lambda futures, actions, goal: torch.stack(
        [weight * cost(futures, actions, goal) for weight, cost in terms]
    ).sum(dim=0)


def with_goal(cost: Cost, goal: Any) -> Cost:
    """Return a cost that keeps a goal of its own, for sums of costs toward different things.

    A controller plans for those rows that are due: give it a goal of one row, which stands for all.
    """
    return lambda futures, actions, _: cost(futures, actions, goal)


def _still_running(model: World, futures: Tensor) -> Float[Tensor, "b s l"]:
    return torch.sigmoid(-_read(model.heads["termination"], futures)).cumprod(dim=-1)


def _read(head: Callable[[Tensor], Tensor], futures: Tensor) -> Tensor:
    """Apply a head to every future; it takes ``[b l p d]``."""
    read = head(futures.flatten(0, 1)).unflatten(0, futures.shape[:2])
    return read if read.dtype == torch.float64 else read.float()


def _head(model: World, name: str) -> Callable[[Tensor], Tensor]:
    if name not in model.heads:
        there = ", ".join(model.heads) or "none"
        raise ValueError(
            f"the model has no {name} head (it has {there}); train it with model.heads=[{name}] and a weight "
            f"in objective.weights.{name}"
        )
    return model.heads[name]
