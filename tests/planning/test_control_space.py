"""Action spaces of a controller, single and batched."""

import functools

import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector.utils import batch_space

from tests.planning.driving import BOX, COMPASS, ENDS, STARTS, controller
from tests.planning.stub_world import StubEnv, StubWorld
from worldjepa.planning import (
    categorical_cem,
    goal_l2,
    gradient,
    last,
)


def test_a_single_environment():
    env = StubEnv([[16, 16]])
    control = controller(horizon=1, cost=functools.partial(goal_l2, reduce=last), planner=gradient)
    action = control.act(env.frames()[0], env.frames([[17, 15]])[0])
    assert action.shape == (2,) and BOX.contains(action)
    np.testing.assert_allclose(action, [1, -1], atol=0.05)


@pytest.mark.parametrize("count", [1, 3])
def test_a_batched_box(count):
    env = StubEnv(STARTS[:count])
    control = controller(action_space=batch_space(BOX, count))
    action = control.act(env.frames(), env.frames(ENDS[:count]))
    assert batch_space(BOX, count).contains(action)


@pytest.mark.parametrize("batched", [True, False])
def test_discrete_actions(batched):
    single = spaces.Discrete(5, start=2)
    env = StubEnv(STARTS, moves=COMPASS)
    model = StubWorld(actions=COMPASS, action_block=2)
    space = batch_space(single, 3) if batched else single
    planner = functools.partial(categorical_cem, num_samples=200)
    control = controller(model, planner, action_space=space, horizon=3)
    for _ in range(24):
        action = control.act(env.frames(), env.frames(ENDS))
        assert action.shape == (3,) and all(single.contains(one) for one in action)
        env.step(np.eye(5)[action - 2])
    assert np.abs(env.positions - ENDS).max() <= 1
    if not batched:
        alone = controller(model, planner, action_space=space).act(env.frames()[0], env.frames(ENDS)[0])
        assert single.contains(alone)


@pytest.mark.parametrize("batched", [True, False])
def test_multi_discrete_actions(batched):
    single = spaces.MultiDiscrete([3, 3])
    moves = [[-2.0, 0], [0, 0], [2.0, 0], [0, -2.0], [0, 0], [0, 2.0]]
    env = StubEnv(STARTS, moves=moves)
    space = batch_space(single, 3) if batched else single
    control = controller(StubWorld(actions=moves), categorical_cem, action_space=space)
    for _ in range(14):
        action = control.act(env.frames(), env.frames(ENDS))
        assert action.shape == (3, 2) and all(single.contains(one) for one in action)
        env.step(np.concatenate([np.eye(3)[action[:, 0]], np.eye(3)[action[:, 1]]], axis=-1))
    assert np.abs(env.positions - ENDS).max() <= 1


def test_a_box_that_is_open_on_a_side():
    for space in (
        spaces.Box(-np.inf, np.inf, (2,)),
        spaces.Box(np.array([0, -1]), np.array([np.inf, 1]), (2,)),
    ):
        with pytest.raises(ValueError, match="pass bounds="):
            controller(action_space=space)
    control = controller(action_space=spaces.Box(-np.inf, np.inf, (2,)), bounds=(-1, [1, 0.5]))
    env = StubEnv([[5, 5]])
    action = control.act(env.frames(), env.frames([[30, 30]]))
    assert (action <= [[1, 0.5]]).all()
    np.testing.assert_allclose(action, [[1, 0.5]], atol=0.2)


@pytest.mark.parametrize("space", [spaces.Box(0, 2, (2,), np.int64), spaces.Box(0, 255, (2,), np.uint8)])
def test_whole_numbers_of_one_environment_are_a_box(space):
    env = StubEnv([[16, 16]])
    action = controller(action_space=space).act(env.frames()[0], env.frames([[20, 20]])[0])
    assert action.dtype == space.dtype
    assert space.contains(action)
