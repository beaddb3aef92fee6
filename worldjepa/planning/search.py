"""What all planners share: scoring candidates, remembering the best one, stopping in time.

A cost function may be anything. Costs that are not finite (-inf too: nothing is that good) count as +inf and
are counted; a row in which nothing was finite keeps the candidate it began with.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from worldjepa.planning.distribution import Proposal
from worldjepa.planning.noise import Generators, Streams
from worldjepa.types import ActionDist, Plan

CostFn = Callable[[Float[Tensor, "b s l a"]], Float[Tensor, "b s"]]
Weigh = Callable[[Float[Tensor, "b s"]], Float[Tensor, "b s"]]


class Search:
    """The best candidate so far of each row, the trace of elite costs and the number of bad costs."""

    def __init__(
        self, cost_fn: CostFn, start: Float[Tensor, "b l a"], *, iterations: int, time_budget_s: float | None
    ):
        if iterations < 1:
            raise ValueError(f"iterations must be 1 or more, got {iterations}")
        self._cost_fn, self._iterations, self._budget = cost_fn, iterations, time_budget_s
        self.actions = start
        self.cost = start.new_full(
            (len(start),), torch.inf, dtype=torch.promote_types(start.dtype, torch.float32)
        )
        self.num_nonfinite = torch.zeros(len(start), dtype=torch.long, device=start.device)
        self.trace: list[Tensor] = []

    def rounds(self) -> Iterator[int]:
        """Yield the iterations: at least one, and no other that would probably end after the time budget."""
        began = before = time.perf_counter()
        for number in range(self._iterations):
            yield number
            if self._budget is None:
                continue
            if self.actions.is_cuda:
                torch.cuda.synchronize(self.actions.device)
            now = time.perf_counter()
            if now + (now - before) > began + self._budget:
                return
            before = now

    def score(self, candidates: Float[Tensor, "b s l a"]) -> Float[Tensor, "b s"]:
        """Return the candidates' costs, finite or +inf, and remember the best.

        Raises:
            ValueError: the cost function returned something else than one number a candidate.
        """
        costs = self._cost_fn(candidates)
        if costs.shape != candidates.shape[:2] or not costs.is_floating_point():
            raise ValueError(
                f"the cost function must return float costs [b s] = {tuple(candidates.shape[:2])} for "
                f"candidates {tuple(candidates.shape)}, got {costs.dtype} {tuple(costs.shape)}"
            )
        costs = costs.to(self.cost.dtype)
        finite = costs.isfinite()
        costs = torch.where(finite, costs, torch.inf)
        self.num_nonfinite = self.num_nonfinite + (~finite).sum(dim=1)
        lowest, place = costs.detach().min(dim=1)
        better = lowest < self.cost
        found = candidates.detach()[torch.arange(len(place), device=place.device), place]
        self.actions = torch.where(better[:, None, None], found, self.actions)
        self.cost = torch.where(better, lowest, self.cost)
        return costs

    def plan(self, dist: ActionDist) -> Plan:
        """Return what was found."""
        return Plan(self.actions, self.cost, dist, torch.stack(self.trace, dim=1), self.num_nonfinite)


@torch.no_grad()  # not inference_mode: what cost functions keep for later may then be used with gradients
def resample(
    cost_fn: CostFn,
    init: ActionDist,
    proposal: Proposal,
    weigh: Weigh,
    *,
    counts: list[int],
    num_kept: int = 0,
    generator: Generators,
    time_budget_s: float | None,
) -> Plan:
    """Draw candidates, score them, fit the distribution to the good ones, and again.

    The centre of the distribution is a candidate of its own in every iteration.

    Args:
        cost_fn: what is minimised.
        init: where to look first.
        proposal: the family of ``init``.
        weigh: costs to weights that sum to 1 in each row, or are all 0 where no cost is finite.
        counts: how many candidates each iteration scores.
        num_kept: how many of the best candidates take part in the next iteration again.
        generator: one, or one a row.
        time_budget_s: see ``Search.rounds``.
    """
    centre = proposal.centre(init)
    streams = Streams(generator, centre)
    search = Search(cost_fn, centre, iterations=len(counts), time_budget_s=time_budget_s)
    dist, kept = init, [centre.unsqueeze(1)[:, :0]]
    for number in search.rounds():
        known = torch.cat([proposal.centre(dist).unsqueeze(1), *kept], dim=1)
        fresh = proposal.sample(dist, max(1, counts[number] - known.shape[1]), streams)
        candidates = torch.cat([known, fresh], dim=1)
        costs = search.score(candidates)
        weights = weigh(costs)
        search.trace.append(weighted_cost(costs, weights))
        dist = proposal.refit(dist, candidates, weights)
        if num_kept:
            best = costs.topk(num_kept, dim=1, largest=False).indices
            kept = [candidates.take_along_dim(best[..., None, None], dim=1)]
    return search.plan(dist)


def weighted_cost(costs: Float[Tensor, "b s"], weights: Float[Tensor, "b s"]) -> Float[Tensor, " b"]:
    """Return the mean cost under the weights, +inf where they are all 0."""
    total = torch.where(weights > 0, costs.double() * weights, 0).sum(dim=1)
    return torch.where(weights.sum(dim=1) > 0, total, torch.inf).to(costs.dtype)


def elite_weights(costs: Float[Tensor, "b s"], num_elites: int) -> Float[Tensor, "b s"]:
    """Weigh the finite ones among the ``num_elites`` lowest costs of each row equally, all others 0."""
    best = costs.topk(num_elites, dim=1, largest=False).indices
    chosen = torch.zeros_like(costs).scatter_(1, best, 1.0) * costs.isfinite()
    return chosen / chosen.sum(dim=1, keepdim=True).clamp_min(1)
