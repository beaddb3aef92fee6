"""Costs against hand-computed cases and slow references; gradients; the bridge to a world model."""

import functools
import itertools
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from tests.model.worlds import inputs, world
from tests.planning.stub_world import StubWorld
from worldjepa.model.heads import ScalarHead, VectorHead
from worldjepa.planning import (
    ActionDist,
    action_penalty,
    cem,
    constraint,
    discounted,
    goal_cosine,
    goal_l1,
    goal_l2,
    gradient,
    last,
    last_plus,
    mean,
    proprioception_l2,
    reward_cost,
    rollout_cost,
    smallest,
    termination_cost,
    weighted,
    with_goal,
)

B, S, L, P, D = 2, 3, 4, 5, 6


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


FUTURES, ACTIONS, GOAL = draw(B, S, L, P, D), draw(B, S, L, 2, seed=1), draw(B, P, D, seed=2)


@pytest.mark.parametrize(
    ("reduce", "expected"),
    [
        (last, 1.0),
        (mean, 2.5),
        (smallest, 1.0),
        (discounted(0.5), (4 + 0.5 * 2 + 0.25 * 3 + 0.125) / 1.875),
        (last_plus(0.3), 1 + 0.3 * 9),
    ],
)
def test_reductions(reduce, expected):
    steps = torch.tensor([4.0, 2.0, 3.0, 1.0])
    torch.testing.assert_close(reduce(steps), torch.tensor(expected))
    torch.testing.assert_close(reduce(steps.expand(2, 3, 4)), torch.full((2, 3), expected))


@pytest.mark.parametrize(
    ("cost", "distance"),
    [
        (goal_l1, lambda x, y: (x - y).abs().sum() / (P * D)),
        (goal_l2, lambda x, y: ((x - y) ** 2).sum() / (P * D)),
        (goal_cosine, lambda x, y: 1 - sum(x[i] @ y[i] / x[i].norm() / y[i].norm() for i in range(P)) / P),
    ],
)
def test_distances_by_loops(cost, distance):
    found = cost(FUTURES, ACTIONS, GOAL, reduce=last_plus(0.2))
    for b, s in itertools.product(range(B), range(S)):
        apart = [distance(FUTURES[b, s, step], GOAL[b]) for step in range(L)]
        torch.testing.assert_close(found[b, s], apart[-1] + 0.2 * sum(apart[:-1]))
    assert torch.equal(cost(FUTURES, ACTIONS, GOAL), cost(FUTURES, ACTIONS, GOAL, reduce=last_plus(0.1)))


def test_sub_goals_by_trying_all_orders_of_time():
    goals = [draw(B, P, D, seed=seed) for seed in (5, 6, 7)]
    found = goal_l2(FUTURES, ACTIONS, goals)
    for b, s in itertools.product(range(B), range(S)):
        apart = [[F.mse_loss(FUTURES[b, s, step], goal[b]) for step in range(L)] for goal in goals]
        times = itertools.combinations_with_replacement(range(L), 3)
        least = min(apart[0][i] + apart[1][j] + apart[2][k] for i, j, k in times)
        torch.testing.assert_close(found[b, s], least)


def test_a_callable_goal():
    height = lambda futures: futures[..., 0, 0]  # noqa: E731
    assert torch.equal(goal_l2(FUTURES, ACTIONS, height, reduce=last), FUTURES[:, :, -1, 0, 0])
    whole = lambda futures: futures.sum(dim=(2, 3, 4))  # noqa: E731
    assert torch.equal(goal_l1(FUTURES, ACTIONS, whole), FUTURES.sum(dim=(2, 3, 4)))


@pytest.mark.parametrize("goal", [GOAL[[0, 1, 0]], GOAL[:, :1], GOAL[:, 0], 3, [GOAL, 3]])
def test_goals_that_do_not_fit(goal):
    with pytest.raises(ValueError, match=r"a goal must be a latent \[b p d\] = \(2, 5, 6\)"):
        goal_l2(FUTURES, ACTIONS, goal)


def test_a_goal_of_one_row_stands_for_all():
    fixed = with_goal(goal_l2, GOAL[:1])
    torch.testing.assert_close(fixed(FUTURES, ACTIONS, None), goal_l2(FUTURES, ACTIONS, GOAL[[0, 0]]))


def test_penalties_constraints_and_sums():
    torch.testing.assert_close(action_penalty(FUTURES, ACTIONS, None), (ACTIONS**2).mean(dim=(2, 3)))
    wall = constraint(lambda futures, actions: actions[..., 0] - 0.5, weight=10.0)
    expected = 10 * (ACTIONS[..., 0] - 0.5).clamp_min(0).sum(dim=-1)
    torch.testing.assert_close(wall(FUTURES, ACTIONS, None), expected)
    total = weighted((2.0, goal_l2), (0.5, action_penalty), (1.0, wall))
    torch.testing.assert_close(
        total(FUTURES, ACTIONS, GOAL),
        2 * goal_l2(FUTURES, ACTIONS, GOAL) + 0.5 * action_penalty(FUTURES, ACTIONS, None) + expected,
    )
    other = with_goal(goal_l1, GOAL + 1)
    assert torch.equal(other(FUTURES, ACTIONS, GOAL), goal_l1(FUTURES, ACTIONS, GOAL + 1))


def headed(**heads) -> Any:
    """Return a model's heads alone."""
    return SimpleNamespace(heads=heads)


def heads():
    torch.manual_seed(0)
    return {
        "reward": ScalarHead(latent_dim=D, num_tokens=P),
        "termination": ScalarHead(latent_dim=D, num_tokens=P),
        "proprioception": VectorHead(latent_dim=D, num_tokens=P, out_dim=3),
    }


@pytest.mark.parametrize("terminating", [True, False])
def test_rewards_by_loops(terminating):
    every = heads()
    used = every if terminating else {"reward": every["reward"]}
    value = lambda latents: latents.sum(dim=(-2, -1))  # noqa: E731
    found = reward_cost(headed(**used), discount=0.9, value=value)(FUTURES, ACTIONS, None)
    for b, s in itertools.product(range(B), range(S)):
        future = FUTURES[b, s][None]
        reward, ended = every["reward"](future)[0], every["termination"](future)[0].sigmoid()
        running, total = 1.0, 0.0
        for step in range(L):
            total = total + 0.9**step * running * reward[step]
            running = running * (1 - ended[step]) if terminating else 1.0
        torch.testing.assert_close(found[b, s], -(total + 0.9**L * running * future[0, -1].sum()))


def test_the_chance_of_ending():
    every = heads()
    found = termination_cost(headed(**every))(FUTURES, ACTIONS, None)
    ended = every["termination"](FUTURES.flatten(0, 1)).sigmoid().unflatten(0, (B, S))
    torch.testing.assert_close(found, 1 - (1 - ended).prod(dim=-1))


def test_a_measured_state_as_the_goal():
    every = heads()
    goal, weights = draw(B, 3, seed=9), torch.tensor([1.0, 0.0, 4.0])
    found = proprioception_l2(headed(**every), weights=weights, reduce=smallest)(FUTURES, ACTIONS, goal)
    read = every["proprioception"](FUTURES.flatten(0, 1)).unflatten(0, (B, S))
    squares = (read - goal[:, None, None]) ** 2 * weights
    torch.testing.assert_close(found, squares.mean(dim=-1).min(dim=-1).values)
    with pytest.raises(ValueError, match=r"a state \[b q\] = \(2, 3\)"):
        proprioception_l2(headed(**every))(FUTURES, ACTIONS, GOAL)


def test_a_missing_head_says_how_to_get_one():
    for cost in (reward_cost, termination_cost, proprioception_l2):
        with pytest.raises(ValueError, match=r"head \(it has none\); train it with model.heads="):
            cost(headed())


def test_costs_are_differentiable():
    futures: Any = FUTURES.clone().requires_grad_()
    actions: Any = ACTIONS.clone().requires_grad_()
    wall = constraint(lambda futures, actions: actions[..., 0])
    rewards = reward_cost(headed(**heads()))
    cost = weighted((1.0, goal_l2), (1.0, goal_cosine), (1.0, action_penalty), (1.0, wall), (1.0, rewards))
    cost(futures, actions, GOAL).sum().backward()
    assert (futures.grad.abs().sum(dim=(3, 4)) > 0).all() and (actions.grad != 0).all()


# --- through a world model -----------------------------------------------------------------------


@pytest.mark.parametrize("max_rollouts", [None, 1, 4])
def test_rollout_cost_is_the_cost_of_what_the_model_predicts(max_rollouts):
    model = world(window=4)
    latents, actions, past = inputs(model, b=2, s=5, t=3, horizon=4)
    lengths = torch.tensor([1, 3])
    goal = latents[:, 0] + 1
    context = {"past_actions": past, "lengths": lengths}
    cost_fn = rollout_cost(model, latents, goal, cost=goal_l1, max_rollouts=max_rollouts, **context)
    futures = model.rollout(latents, actions, **context)
    torch.testing.assert_close(cost_fn(actions), goal_l1(futures, actions, goal))


def test_planning_through_a_world_model_comes_nearer_to_what_it_can_reach():
    """The goal is the end of a rollout under known actions; gradients pass through the model, too."""
    model = world(dtype=torch.float32)
    latents, _, _ = inputs(model, b=2, t=1)
    wanted = 0.8 * draw(2, 3, 4, seed=3).clamp(-1, 1)
    with torch.no_grad():
        goal = model.rollout(latents, wanted)[:, -1]
    bounds = (torch.full((4,), -1.0), torch.full((4,), 1.0))
    init: Any = ActionDist.initial(bounds, batch=2, horizon=3)

    def last_only(futures, actions, goal):
        return goal_l2(futures, actions, goal, reduce=last)

    cost_fn = rollout_cost(model, latents, goal, cost=last_only)
    still = cost_fn(init.mean[:, None]).detach()[:, 0]
    for planner in (functools.partial(cem, num_samples=150), functools.partial(gradient, num_restarts=2)):
        plan = planner(cost_fn, init, bounds=bounds, generator=torch.Generator().manual_seed(0))
        assert (plan.cost < 0.1 * still).all(), planner
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_stub_world_moves_as_it_says():
    model = StubWorld(side=8, action_block=2)
    frames = torch.zeros(1, 1, 3, 8, 8, dtype=torch.uint8)
    frames[0, 0, :, 3, 5] = 255
    latents = model.encode(frames)
    assert latents.tolist() == [[[[3.0, 5.0]]]]
    future = model.futures(model.start(latents), torch.tensor([[[[1.0, 0.0, 0.5, -1.0]]]]))
    assert future.tolist() == [[[[[4.5, 4.0]]]]]
