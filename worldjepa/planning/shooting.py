"""Random shooting: the baseline of planners."""

from __future__ import annotations

from typing import Any

import torch

from worldjepa.planning.distribution import BoxProposal, gaussian
from worldjepa.planning.noise import Generators, Streams
from worldjepa.planning.search import CostFn, Search, elite_weights, weighted_cost
from worldjepa.types import ActionDist, Plan


@torch.no_grad()
def random_shooting(
    cost_fn: CostFn,
    init: ActionDist,
    *,
    bounds: tuple[Any, Any],
    iterations: int = 1,
    num_samples: int = 300,
    generator: Generators = None,
    time_budget_s: float | None = None,
) -> Plan:
    """Return the best of plans drawn evenly from the box, and of the mean of ``init``.

    Each iteration draws ``num_samples`` anew; they matter only to a time budget. ``plan.dist`` has the best
    plan as its mean. For discrete actions use ``categorical_cem(iterations=1)``.

    Raises:
        ValueError: as ``cem``.
    """
    proposal = BoxProposal.of(init, bounds, min_std=0.0)
    if num_samples < 1:
        raise ValueError(f"num_samples must be 1 or more, got {num_samples}")
    centre = proposal.centre(init)
    streams = Streams(generator, centre)
    search = Search(cost_fn, centre, iterations=iterations, time_budget_s=time_budget_s)
    for _ in search.rounds():
        drawn = streams.uniform(num_samples, *centre.shape[1:])
        candidates = (proposal.low + drawn * (proposal.high - proposal.low)).clamp(
            proposal.low, proposal.high
        )
        candidates[:, 0] = search.actions
        costs = search.score(candidates)
        search.trace.append(weighted_cost(costs, elite_weights(costs, 1)))
    return search.plan(ActionDist(mean=search.actions, std=gaussian(init)[1]))
