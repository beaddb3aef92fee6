"""Gradient descent on the actions, through the cost function and the model behind it."""

from __future__ import annotations

import time
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from worldjepa.planning.cross_entropy import cem
from worldjepa.planning.distribution import BoxProposal, gaussian
from worldjepa.planning.noise import Generators, Streams, row_generators
from worldjepa.planning.search import CostFn, Search, elite_weights, weighted_cost
from worldjepa.types import ActionDist, Plan

BETAS = (0.7, 0.9)  # a few dozen steps are too few for the usual long memory, which overshoots


def gradient(
    cost_fn: CostFn,
    init: ActionDist,
    *,
    bounds: tuple[Any, Any],
    iterations: int = 30,
    num_restarts: int = 8,
    learning_rate: float = 0.1,
    generator: Generators = None,
    time_budget_s: float | None = None,
) -> Plan:
    """Minimise a differentiable cost by Adam, from several starts, projected to the bounds at each step.

    Works under ``torch.no_grad()`` and ``torch.inference_mode()`` as well. ``plan.dist`` has the best plan
    as its mean and the standard deviation of ``init``. What is not named here is as in ``cem``.

    Args:
        cost_fn: costs of candidates, differentiable in them.
        init: the first start is its mean, the others are drawn from it.
        bounds: lowest and highest action block.
        iterations: evaluations of the cost; between two of them lies a step.
        num_restarts: starts a row.
        learning_rate: length of the first steps, as a share of the bounds' width; falls linearly to 0.
        generator: of the starts.
        time_budget_s: stop in time.

    Raises:
        ValueError: as ``cem``; or costs that do not depend on the actions as autograd sees it.
    """
    if num_restarts < 1 or not learning_rate > 0:
        raise ValueError(
            f"expected num_restarts >= 1 and learning_rate > 0, got {num_restarts} and {learning_rate}"
        )
    with torch.inference_mode(False), torch.enable_grad():
        # clones, because what was made in inference mode cannot take part in a gradient
        init = ActionDist(mean=gaussian(init)[0].clone(), std=gaussian(init)[1].clone())
        proposal = BoxProposal.of(init, bounds, min_std=0.0)
        centre, low, width = proposal.centre(init), proposal.low.clone(), proposal.high - proposal.low
        search = Search(cost_fn, centre, iterations=iterations, time_budget_s=time_budget_s)
        start = centre.unsqueeze(1)
        if num_restarts > 1:
            streams = Streams(generator, centre)
            start = torch.cat([start, proposal.sample(init, num_restarts - 1, streams)], dim=1)
        place = ((start - low) / width.clamp_min(torch.finfo(width.dtype).tiny)).requires_grad_()
        adam = torch.optim.Adam([place], lr=learning_rate, betas=BETAS)
        costs = None
        for number in search.rounds():
            if costs is not None:
                adam.param_groups[0]["lr"] = learning_rate * (1 - number / iterations)
                _step(adam, place, costs)
            costs = search.score((low + place * width).clamp(low, low + width))
            search.trace.append(weighted_cost(costs.detach(), elite_weights(costs.detach(), 1)))
    return search.plan(ActionDist(mean=search.actions, std=gaussian(init)[1]))


def _step(adam: torch.optim.Adam, place: Float[Tensor, "b s l a"], costs: Float[Tensor, "b s"]) -> None:
    """Move every candidate down its own cost, within the unit box; where there is no gradient it stays."""
    if not costs.requires_grad:
        raise ValueError(
            "the cost does not depend on the actions through autograd; compute it from them without detach "
            "or no_grad, or use a planner that needs no gradient, such as cem"
        )
    (found,) = torch.autograd.grad(torch.where(costs.isfinite(), costs, 0).sum(), place, allow_unused=True)
    place.grad = torch.zeros_like(place) if found is None else torch.nan_to_num(found, 0.0, 0.0, 0.0)
    adam.step()
    with torch.no_grad():
        place.clamp_(0, 1)


def refined_cem(
    cost_fn: CostFn,
    init: ActionDist,
    *,
    bounds: tuple[Any, Any],
    iterations: int = 6,
    num_samples: int = 300,
    num_elites: int = 30,
    min_std: float = 0.01,
    gradient_iterations: int = 10,
    num_restarts: int = 4,
    learning_rate: float = 0.01,
    generator: Generators = None,
    time_budget_s: float | None = None,
) -> Plan:
    """Minimise a differentiable cost by ``cem``, then by ``gradient`` from the best plan and samples around
    it.

    The result is never worse than ``cem``'s. ``plan.dist`` has the best plan as its mean and the standard
    deviation that ``cem`` ended with; of a time budget, ``cem`` gets the larger half.

    Raises:
        ValueError: as ``cem`` and ``gradient``.
    """
    began = time.perf_counter()
    generator = row_generators(generator, len(gaussian(init)[0]))
    first = cem(
        cost_fn,
        init,
        bounds=bounds,
        iterations=iterations,
        num_samples=num_samples,
        num_elites=num_elites,
        min_std=min_std,
        generator=generator,
        time_budget_s=None if time_budget_s is None else 0.6 * time_budget_s,
    )
    left = None if time_budget_s is None else time_budget_s - (time.perf_counter() - began)
    then = gradient(
        cost_fn,
        ActionDist(mean=first.actions, std=gaussian(first.dist)[1]),
        bounds=bounds,
        iterations=gradient_iterations,
        num_restarts=num_restarts,
        learning_rate=learning_rate,
        generator=generator,
        time_budget_s=left,
    )
    better = then.cost < first.cost
    actions = torch.where(better[:, None, None], then.actions, first.actions)
    return Plan(
        actions,
        then.cost.minimum(first.cost),
        ActionDist(mean=actions, std=then.dist.std),
        torch.cat([first.elite_cost, then.elite_cost], dim=1),
        first.num_nonfinite + then.num_nonfinite,
    )
