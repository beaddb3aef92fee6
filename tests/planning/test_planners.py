"""Every planner of a box: known optima, bounds, independence of rows, hostile costs, time."""

# pyright: reportOptionalSubscript=false, reportOptionalMemberAccess=false, reportArgumentType=false

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
    optimum,
    quadratic,
    two_basins,
)
from worldjepa.planning import ActionDist, Plan, cem, gradient, icem, mppi, refined_cem, shift

LOW, HIGH = BOUNDS


def start(b=2) -> Any:
    return ActionDist.initial(BOUNDS, batch=b, horizon=HORIZON)


def inside(actions):
    return bool(((actions >= LOW) & (actions <= HIGH)).all()) and bool(actions.isfinite().all())


@pytest.mark.parametrize("name", PLANNERS)
def test_the_optimum_of_a_quadratic(name):
    planner, tolerance = PLANNERS[name]
    plan = planner(quadratic(), start(), bounds=BOUNDS, generator=generator())
    expected = optimum().clamp(LOW, HIGH)
    assert inside(plan.actions)
    assert (plan.actions - expected).abs().max() < tolerance * 5  # of the wider dimension's width
    torch.testing.assert_close(
        plan.cost, quadratic()(plan.actions[:, None])[:, 0]
    )  # the true cost of what it is
    least = quadratic()(expected[:, None])[:, 0]
    assert (plan.cost >= least - 1e-5).all()
    assert plan.num_nonfinite.tolist() == [0, 0]
    assert plan.elite_cost.shape == (2, plan.iterations_done)


@pytest.mark.parametrize("name", [name for name in PLANNERS if name != "random_shooting"])
def test_elite_costs_fall(name):
    plan = PLANNERS[name][0](quadratic(), start(), bounds=BOUNDS, generator=generator())
    assert (plan.elite_cost[:, -1] < 0.5 * plan.elite_cost[:, 0]).all()


@pytest.mark.parametrize("name", PLANNERS)
def test_the_deeper_of_two_basins(name):
    bounds = (torch.tensor([-1.0]), torch.tensor([1.0]))
    init = ActionDist.initial(bounds, batch=1, horizon=2)
    plan = PLANNERS[name][0](two_basins, init, bounds=bounds, generator=generator(1))
    assert abs(float(plan.actions.mean()) - 0.7) < 0.1
    assert plan.cost < 0.03


@pytest.mark.parametrize("name", PLANNERS)
def test_a_row_is_planned_as_if_alone(name):
    planner = PLANNERS[name][0]
    best = optimum(3)
    whole = planner(quadratic(3), start(3), bounds=BOUNDS, generator=[generator(seed) for seed in range(3)])
    for row in range(3):

        def cost(actions, row=row):
            return (actions - best[row]).square().sum(dim=(-2, -1))

        alone = planner(cost, start(1), bounds=BOUNDS, generator=[generator(row)])
        assert torch.equal(alone.actions[0], whole.actions[row])
        assert torch.equal(alone.dist.mean[0], whole.dist.mean[row])
        assert torch.equal(alone.elite_cost[0], whole.elite_cost[row])


@pytest.mark.parametrize("name", PLANNERS)
def test_one_generator_gives_each_row_a_stream_that_does_not_depend_on_the_batch(name):
    planner = PLANNERS[name][0]
    cost = lambda actions: actions.square().sum(dim=(-2, -1))  # noqa: E731
    many = planner(cost, start(20), bounds=BOUNDS, generator=generator(3))
    few = planner(cost, start(2), bounds=BOUNDS, generator=generator(3))
    assert torch.equal(few.actions, many.actions[:2])
    assert (
        not torch.equal(many.dist.mean[0], many.dist.mean[1]) or name == "gradient"
    )  # which finds 0 exactly


def test_cem_against_a_slow_reference():
    """One iteration, written out with a sort."""
    g = generator(5)
    stream = torch.Generator().manual_seed(int(torch.randint(2**63 - 1, (1,), generator=generator(5))))
    init = start(1)
    noise = torch.randn(9, HORIZON, A, generator=stream)
    drawn = (init.mean[0] + init.std[0] * noise).clamp(LOW, HIGH)
    candidates = torch.cat([init.mean, drawn])
    costs = quadratic(1)(candidates[None])[0]
    elites = candidates[costs.argsort()[:4]]
    plan = cem(
        quadratic(1),
        init,
        bounds=BOUNDS,
        iterations=1,
        num_samples=10,
        num_elites=4,
        momentum=0.25,
        generator=g,
    )
    torch.testing.assert_close(plan.dist.mean[0], 0.25 * init.mean[0] + 0.75 * elites.mean(dim=0))
    torch.testing.assert_close(
        plan.dist.std[0], 0.25 * init.std[0] + 0.75 * elites.std(dim=0, correction=0), atol=1e-6, rtol=1e-5
    )
    torch.testing.assert_close(plan.elite_cost[0, 0], costs.sort().values[:4].mean())
    assert torch.equal(plan.actions[0], candidates[costs.argmin()])


def test_the_std_keeps_its_floor():
    point = lambda actions: (actions - 0.1).abs().sum(dim=(-2, -1))  # noqa: E731
    plan = cem(point, start(), bounds=BOUNDS, iterations=30, min_std=0.02, generator=generator())
    torch.testing.assert_close(plan.dist.std, (0.02 * (HIGH - LOW)).expand(2, HORIZON, A))


def test_the_mean_is_a_candidate():
    """A start at the optimum cannot be lost."""
    best = optimum().clamp(LOW, HIGH)
    init = ActionDist(mean=best, std=torch.ones_like(best))
    for planner in (cem, icem, mppi):
        plan = planner(quadratic(), init, bounds=BOUNDS, generator=generator())
        torch.testing.assert_close(plan.actions, best, atol=0.05, rtol=0)
        assert (plan.cost <= quadratic()(best[:, None])[:, 0]).all()


def test_a_warm_start_is_a_head_start():
    plan = cem(
        quadratic(), start(), bounds=BOUNDS, iterations=3, num_samples=60, num_elites=6, generator=generator()
    )
    again = cem(
        quadratic(),
        plan.dist,
        bounds=BOUNDS,
        iterations=1,
        num_samples=60,
        num_elites=6,
        generator=generator(1),
    )
    cold = cem(
        quadratic(),
        start(),
        bounds=BOUNDS,
        iterations=1,
        num_samples=60,
        num_elites=6,
        generator=generator(1),
    )
    assert (again.cost < cold.cost).all()
    assert (again.elite_cost[:, 0] < 0.5 * cold.elite_cost[:, 0]).all()


def test_no_gradient_is_kept_by_sampling_planners():
    weight = torch.ones((), requires_grad=True)
    cost = lambda actions: weight * actions.square().sum(dim=(-2, -1))  # noqa: E731
    for name in SAMPLING:
        plan = PLANNERS[name][0](cost, start(), bounds=BOUNDS, generator=generator())
        assert not plan.actions.requires_grad and not plan.cost.requires_grad
    kept = cem(cost, start(), bounds=BOUNDS, generator=generator()).actions
    (weight * kept.sum()).backward()  # what a planner returns may take part in a gradient


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_gradient_planners_follow_gradients_where_they_are_switched_off(mode):
    free = gradient(quadratic(), start(), bounds=BOUNDS, generator=generator())
    with mode():
        bounds = (LOW.clone(), HIGH.clone())
        init = ActionDist.initial(bounds, batch=2, horizon=HORIZON)
        plan = gradient(quadratic(), init, bounds=bounds, generator=generator())
    assert torch.equal(plan.actions, free.actions)
    assert not plan.actions.requires_grad


def test_refinement_is_never_worse_than_cem():
    wavy = lambda actions: (6 * actions).sin().sum(dim=(-2, -1)) + actions.square().sum(dim=(-2, -1))  # noqa: E731
    settings = {"bounds": BOUNDS, "num_samples": 40, "num_elites": 5}
    first = cem(wavy, start(8), generator=[generator(i) for i in range(8)], **settings)
    refined = refined_cem(wavy, start(8), generator=[generator(i) for i in range(8)], **settings)
    assert (refined.cost <= first.cost).all()
    assert (refined.cost < first.cost - 1e-4).any()
    assert refined.iterations_done == 16


def test_a_gradient_that_is_nowhere_is_refused():
    with pytest.raises(ValueError, match="does not depend on the actions through autograd"):
        gradient(lambda actions: actions.detach().sum(dim=(-2, -1)), start(), bounds=BOUNDS)


def test_a_part_of_the_gradient_that_is_nan_stays_where_it_is():
    cost = lambda actions: (actions[:, :, 0] - 0.5).square().sum(-1) + (0 * actions[:, :, 1, 0]).sqrt()  # noqa: E731
    plan = gradient(cost, start(), bounds=BOUNDS, num_restarts=1, generator=generator())
    assert (plan.actions[:, 0] - 0.5).abs().max() < 0.02
    assert torch.equal(plan.actions[:, 1], start().mean[:, 1])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: cem(quadratic(), start(), bounds=BOUNDS, num_elites=500), "num_elites=500"),
        (lambda: cem(quadratic(), start(), bounds=BOUNDS, iterations=0), "iterations must be 1 or more"),
        (lambda: cem(quadratic(), start(), bounds=(LOW, HIGH * torch.inf)), "a box that is open"),
        (lambda: cem(quadratic(), start(), bounds=(HIGH, LOW)), "low <= high"),
        (lambda: cem(quadratic(), start(), bounds=(LOW[:1], HIGH[:1])), "bounds of 1"),
        (lambda: cem(lambda a: a.sum(), start(), bounds=BOUNDS), r"float costs \[b s\] = \(2, 300\)"),
        (lambda: cem(quadratic(), start(), bounds=BOUNDS, generator=[generator()]), "one for each of 2 rows"),
        (lambda: cem(quadratic(), ActionDist.uniform((2,), batch=2, horizon=1), bounds=BOUNDS), "has logits"),
        (lambda: mppi(quadratic(), start(), bounds=BOUNDS, temperature=0.0), "temperature > 0"),
        (lambda: icem(quadratic(), start(), bounds=BOUNDS, shrink=0.5), "shrink >= 1"),
        (lambda: icem(quadratic(), start(), bounds=BOUNDS, action_block=3), "multiple of action_block"),
        (lambda: cem(quadratic(), shift(start(), steps=-1), bounds=BOUNDS), "steps must be 0 or more"),
        (lambda: gradient(quadratic(), start(), bounds=BOUNDS, num_restarts=0), "num_restarts >= 1"),
    ],
)
def test_what_is_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_a_plan_is_a_value():
    plan = cem(quadratic(), start(), bounds=BOUNDS, generator=generator())
    assert isinstance(plan, Plan)
    name = "cost"
    with pytest.raises(AttributeError):
        setattr(plan, name, None)
