"""Hostile costs, bounds and time budgets, for every planner of a box."""

# pyright: reportOptionalSubscript=false, reportOptionalMemberAccess=false, reportArgumentType=false

import time
from typing import Any

import pytest
import torch

from tests.planning.problems import (
    BOUNDS,
    HORIZON,
    PLANNERS,
    SAMPLING,
    A,
    generator,
    quadratic,
)
from worldjepa.planning import ActionDist, cem

LOW, HIGH = BOUNDS


def start(b=2) -> Any:
    return ActionDist.initial(BOUNDS, batch=b, horizon=HORIZON)


def inside(actions):
    return bool(((actions >= LOW) & (actions <= HIGH)).all()) and bool(actions.isfinite().all())


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("name", PLANNERS)
def test_costs_that_are_not_finite(name, bad):
    """A third of the space of row 0 is poisoned, row 1 is all poison, row 2 is sound."""

    def cost(actions):
        costs = (actions - 0.9).square().sum(dim=(-2, -1))
        poisoned = actions[:, :, 0, 0] > 1 / 3
        poisoned = torch.stack([poisoned[0], torch.ones_like(poisoned[1]), torch.zeros_like(poisoned[2])])
        return torch.where(poisoned, costs * 0 + bad, costs)

    plan = PLANNERS[name][0](cost, start(3), bounds=BOUNDS, generator=generator())
    assert inside(plan.actions)
    assert inside(plan.dist.mean)
    assert plan.cost.isfinite().tolist() == [True, False, True]
    assert plan.cost[1] == torch.inf
    assert torch.equal(plan.actions[1], start(1).mean[0])  # where it began
    assert plan.actions[0, 0, 0] <= 1 / 3
    assert plan.num_nonfinite[2] == 0
    assert plan.num_nonfinite[1] > plan.num_nonfinite[0] > 0
    assert (plan.elite_cost[1] == torch.inf).all()


def test_non_finite_costs_are_counted():
    def cost(actions):
        costs = torch.zeros(actions.shape[:2])
        costs[0, 3:7], costs[1, 0] = torch.nan, torch.inf
        return costs

    plan = cem(
        cost, start(), bounds=BOUNDS, iterations=4, num_samples=20, num_elites=5, generator=generator()
    )
    assert plan.num_nonfinite.tolist() == [16, 4]


@pytest.mark.parametrize("value", [0.0, 1e38, -3e38, 1e-38])
@pytest.mark.parametrize("name", SAMPLING)
def test_constant_costs(name, value):
    plan = PLANNERS[name][0](
        lambda actions: torch.full(actions.shape[:2], value), start(), bounds=BOUNDS, generator=generator()
    )
    assert torch.equal(plan.actions, start().mean)  # nothing is better than the mean
    assert inside(plan.dist.mean)
    assert plan.dist.std.isfinite().all()
    torch.testing.assert_close(plan.cost, torch.full((2,), value))


@pytest.mark.parametrize("name", PLANNERS)
def test_huge_and_opposite_costs(name):
    plan = PLANNERS[name][0](
        lambda actions: 1.5e38 * actions[:, :, 0, 0].sign() + 0 * actions.sum(dim=(-2, -1)),
        start(),
        bounds=BOUNDS,
        generator=generator(),
    )
    assert inside(plan.actions)
    assert inside(plan.dist.mean)
    assert (plan.cost == -1.5e38).all()


@pytest.mark.parametrize("name", PLANNERS)
def test_wide_distributions_stay_inside(name):
    seen = []

    def cost(actions):
        seen.append(inside(actions))
        return -actions.abs().sum(dim=(-2, -1))

    init = ActionDist(mean=torch.full((2, HORIZON, A), 50.0), std=torch.full((2, HORIZON, A), 1e6))
    plan = PLANNERS[name][0](cost, init, bounds=BOUNDS, generator=generator())
    assert seen and all(seen)
    assert inside(plan.actions)
    assert inside(plan.dist.mean.clamp(LOW - 1e-4, HIGH + 1e-4))


@pytest.mark.parametrize("name", PLANNERS)
def test_a_bound_that_leaves_no_choice(name):
    bounds = (torch.tensor([0.5, -2.0]), torch.tensor([0.5, 3.0]))
    init = ActionDist.initial(bounds, batch=2, horizon=HORIZON)
    plan = PLANNERS[name][0](quadratic(), init, bounds=bounds, generator=generator())
    assert (plan.actions[..., 0] == 0.5).all()


@pytest.mark.parametrize("name", PLANNERS)
def test_the_budget_ends_the_search(name):
    def slow(actions):
        time.sleep(0.02)
        return (actions - 0.3).square().sum(dim=(-2, -1))

    settings = {"bounds": BOUNDS, "generator": generator(), "iterations": 100}
    began = time.perf_counter()
    plan = PLANNERS[name][0](slow, start(), time_budget_s=0.2, **settings)
    assert time.perf_counter() - began < 5.0
    assert 1 <= plan.iterations_done < 50
    assert inside(plan.actions)
    assert plan.cost.isfinite().all()
    least = PLANNERS[name][0](slow, start(), time_budget_s=0.0, **settings)
    assert least.iterations_done == (2 if name == "refined_cem" else 1)


def test_a_budget_that_is_never_reached_changes_nothing():
    settings = {"bounds": BOUNDS, "iterations": 5}
    free = cem(quadratic(), start(), generator=generator(), **settings)
    bound = cem(quadratic(), start(), generator=generator(), time_budget_s=1e3, **settings)
    assert torch.equal(free.actions, bound.actions)
    assert bound.iterations_done == 5
