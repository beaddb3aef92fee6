"""Goals as users have them: kept until they change; sub-goals in order."""

import functools

import numpy as np
import torch

from tests.planning.driving import ENDS, STARTS, controller, drive
from tests.planning.stub_world import StubEnv, StubWorld
from worldjepa.planning import (
    goal_l2,
    smallest,
)


def test_a_goal_is_encoded_once_until_it_changes():
    model = StubWorld()
    env = StubEnv(STARTS)
    control = controller(model)
    goal = env.frames(ENDS)
    drive(control, env, goal, 4)
    assert model.calls == 3 + 4 * 3  # the goals once, each observation once
    goal[1] = 0
    goal[1, 9, 9] = 255  # in place, as vector environments do it
    drive(control, env, goal, 2)
    assert model.calls == 15 + 1 + 2 * 3
    assert control.planned.goal[:, 0].tolist() == [[20, 25], [9, 9], [3, 30]]


def test_another_goal_ends_the_plan_after_the_running_block():
    model = StubWorld(action_block=3)
    env = StubEnv([[16.0, 16.0]])
    control = controller(model, replan_every=3, horizon=3)
    frames = drive(control, env, env.frames([[31, 16]]), 1)
    assert env.positions[0, 0] > 16.5
    other, plans = env.frames([[0, 16]]), []
    for _ in range(4):
        frames = env.step(control.act(frames, other))
        plans.append(id(control.planned))
    assert plans[0] == plans[1] != plans[2]  # two more actions of the block that ran, then a new plan
    drive(control, env, other, 12)
    assert env.positions[0, 0] < 3


def test_goals_as_latents_lists_callables_and_one_for_all():
    env = StubEnv(STARTS)
    frames = env.frames()
    as_frames = controller().act(frames, env.frames([[20, 25]] * 3))
    for goal in (
        env.frames([[20, 25]]),
        env.frames([[20, 25]])[0],
        torch.tensor([[[20.0, 25.0]]]).expand(3, 1, 2),
        torch.tensor([[[20.0, 25.0]]]),
    ):
        np.testing.assert_array_equal(controller().act(frames, goal), as_frames)
    nearer = lambda futures: (futures[..., 0, :] - torch.tensor([20.0, 25.0])).square().mean(dim=-1)  # noqa: E731
    np.testing.assert_allclose(controller().act(frames, nearer), as_frames, atol=1e-5)


def test_sub_goals_are_visited_in_order():
    env = StubEnv([[2, 2], [30, 2]])
    corner = [[2, 28], [30, 28]]
    end = [[28, 28], [4, 28]]
    control = controller(cost=functools.partial(goal_l2, reduce=smallest))
    goal, path = [env.frames(corner), env.frames(end)], []
    for _ in range(40):
        path.append(env.positions.copy())
        env.step(control.act(env.frames(), goal))
    path = np.array(path)
    apart = [np.linalg.norm(path - place, axis=-1) for place in (corner, end)]
    assert (apart[0].min(axis=0) < 0.3 * 26 + 1).all()  # as near as it has to come
    assert (apart[0].argmin(axis=0) < apart[1].argmin(axis=0)).all()
    assert np.abs(env.positions - end).max() < 1.5
    np.testing.assert_array_equal(control.planned.goal[:, 0], end)
    control.reset(np.array([True, False]))
    env.positions[0] = [2, 2]
    control.act(env.frames(), goal)
    np.testing.assert_array_equal(control.planned.goal[:, 0], [corner[0], end[1]])
