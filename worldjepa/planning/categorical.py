"""The cross-entropy method for discrete actions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from worldjepa.planning.cross_entropy import check_elites
from worldjepa.planning.distribution import ChoiceProposal
from worldjepa.planning.noise import Generators
from worldjepa.planning.search import CostFn, elite_weights, resample
from worldjepa.types import ActionDist, Plan


def categorical_cem(
    cost_fn: CostFn,
    init: ActionDist,
    *,
    sizes: Sequence[int],
    iterations: int = 6,
    num_samples: int = 300,
    num_elites: int = 30,
    min_share: float = 0.05,
    momentum: float = 0.0,
    generator: Generators = None,
    time_budget_s: float | None = None,
) -> Plan:
    """Minimise a cost over sequences of choices, given to the cost function as one-hots.

    With ``iterations=1`` it is random shooting. What is not named here is as in ``cem``.

    Args:
        cost_fn: costs of candidates ``[b s l a]``, one-hots of each choice, joined.
        init: ``ActionDist.uniform`` or a shifted ``plan.dist``.
        sizes: number of options of each choice in an action block: for Discrete(3) and blocks of two
            environment steps (3, 3).
        iterations: refits.
        num_samples: candidates a row and iteration.
        num_elites: how many of the best the probabilities are fitted to.
        min_share: the part of each probability that is the same for all options, so that none dies out.
        momentum: share of the old probabilities that a refit keeps.
        generator: of the samples.
        time_budget_s: stop in time.

    Raises:
        ValueError: sizes that do not fit ``init``, numbers out of range, costs of another shape.
    """
    proposal = ChoiceProposal.of(init, sizes, min_share=min_share, momentum=momentum)
    check_elites(num_samples, num_elites)
    return resample(
        cost_fn,
        init,
        proposal,
        partial(elite_weights, num_elites=num_elites),
        counts=[num_samples] * iterations,
        generator=generator,
        time_budget_s=time_budget_s,
    )
