"""The cross-entropy method for actions in a box: refit a Gaussian to the best candidates, and again."""

from __future__ import annotations

from functools import partial
from typing import Any

from worldjepa.planning.distribution import BoxProposal
from worldjepa.planning.noise import Generators
from worldjepa.planning.search import CostFn, elite_weights, resample
from worldjepa.types import ActionDist, Plan


def cem(
    cost_fn: CostFn,
    init: ActionDist,
    *,
    bounds: tuple[Any, Any],
    iterations: int = 6,
    num_samples: int = 300,
    num_elites: int = 30,
    min_std: float = 0.01,
    momentum: float = 0.0,
    generator: Generators = None,
    time_budget_s: float | None = None,
) -> Plan:
    """Minimise a cost over plans by the cross-entropy method (Rubinstein 1999).

    Every row is independent of the others. Candidates are clipped to the bounds; the mean is one of them.

    Args:
        cost_fn: costs ``[b s]`` of candidates ``[b s l a]``; those that are not finite count as +inf.
        init: where to look first, ``ActionDist.initial`` or a shifted ``plan.dist``.
        bounds: lowest and highest action block, ``[a]`` each, in environment units.
        iterations: refits.
        num_samples: candidates a row and iteration.
        num_elites: how many of the best the Gaussian is fitted to.
        min_std: floor of the standard deviation, as a share of the bounds' width.
        momentum: share of the old mean and std that a refit keeps.
        generator: of the samples: one, or a list of one a row; None: torch's global one.
        time_budget_s: stop before an iteration that would end later; at least one is done.

    Returns:
        The best candidate ever scored, its cost, and the last Gaussian.

    Raises:
        ValueError: bounds that are not finite or do not fit ``init``; numbers out of range; costs of another
            shape.
    """
    proposal = BoxProposal.of(init, bounds, min_std=min_std, momentum=momentum)
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


def icem(
    cost_fn: CostFn,
    init: ActionDist,
    *,
    bounds: tuple[Any, Any],
    iterations: int = 6,
    num_samples: int = 300,
    num_elites: int = 30,
    noise_exponent: float = 2.0,
    action_block: int = 1,
    kept_elites: float = 0.3,
    shrink: float = 1.0,
    min_std: float = 0.01,
    momentum: float = 0.1,
    generator: Generators = None,
    time_budget_s: float | None = None,
) -> Plan:
    """Minimise a cost by the improved cross-entropy method (iCEM; Pinneri et al., arXiv:2008.06389).

    What differs from ``cem``: noise that is correlated in time, and elites that compete again in the next
    iteration. The other arguments, the result and the errors are ``cem``'s.

    Args:
        cost_fn: costs of candidates.
        init: where to look first.
        bounds: lowest and highest action block.
        iterations: refits.
        num_samples: candidates of the first iteration.
        num_elites: how many of the best the Gaussian is fitted to.
        noise_exponent: power of the noise falls as frequency to minus this; 0 is white.
        action_block: environment steps of a plan step: the noise runs over all of them.
        kept_elites: share of the elites that are candidates again.
        shrink: the population is divided by this after each iteration (down to twice the elites).
        min_std: floor of the standard deviation.
        momentum: share of the old mean and std that a refit keeps.
        generator: of the samples.
        time_budget_s: stop in time.
    """
    proposal = BoxProposal.of(
        init,
        bounds,
        min_std=min_std,
        momentum=momentum,
        exponent=noise_exponent,
        action_block=action_block,
    )
    check_elites(num_samples, num_elites)
    if not 0 <= kept_elites <= 1 or shrink < 1:
        raise ValueError(f"expected kept_elites in [0, 1] and shrink >= 1, got {kept_elites} and {shrink}")
    least = min(num_samples, 2 * num_elites)
    return resample(
        cost_fn,
        init,
        proposal,
        partial(elite_weights, num_elites=num_elites),
        counts=[max(least, int(num_samples / shrink**i)) for i in range(iterations)],
        num_kept=int(kept_elites * num_elites),
        generator=generator,
        time_budget_s=time_budget_s,
    )


def check_elites(num_samples: int, num_elites: int) -> None:
    """Raise ``ValueError`` unless there are candidates to choose the elites from."""
    if not 1 <= num_elites <= num_samples or num_samples < 2:
        raise ValueError(
            f"num_samples={num_samples}, num_elites={num_elites}: expected at least 2 samples and 1 to "
            "num_samples elites"
        )
