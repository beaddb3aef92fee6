"""The controller in a toy world whose best actions are known."""

import functools
import logging
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector.utils import batch_space

from tests.model.worlds import world
from tests.planning.driving import BOX, ENDS, QUICK, STARTS, controller, drive
from tests.planning.stub_world import StubEnv, StubWorld
from worldjepa import MPCController
from worldjepa.planning import (
    ActionDist,
    Plan,
    categorical_cem,
    cem,
    goal_l2,
    gradient,
    icem,
    last,
    mppi,
    random_shooting,
    refined_cem,
)


@pytest.mark.parametrize(
    "planner",
    [
        QUICK,
        functools.partial(icem, num_samples=100, num_elites=10, iterations=5),
        functools.partial(mppi, num_samples=100),
        functools.partial(gradient, iterations=10, num_restarts=2),
        functools.partial(refined_cem, num_samples=50, num_elites=10, iterations=3, gradient_iterations=3),
        functools.partial(random_shooting, num_samples=500),
    ],
)
def test_every_planner_reaches_the_goal(planner):
    env = StubEnv(STARTS)
    control = controller(planner=planner)
    drive(control, env, env.frames(ENDS), 25)
    error = np.abs(env.positions - ENDS).max()
    assert error < (3 if planner.__class__ is functools.partial and planner.func is random_shooting else 1)


def test_the_first_action_is_the_best_one():
    """With the distance after a plan of one block, the action is the way there, clipped to the box."""
    cost = functools.partial(goal_l2, reduce=last)
    env = StubEnv([[10, 10], [10, 10], [10, 10]])
    goal = env.frames([[11, 9], [20, 10], [9, 0]])
    action = controller(horizon=1, cost=cost, planner=gradient).act(env.frames(), goal)
    np.testing.assert_allclose(action, [[1, -1], [2, 0], [-1, -2]], atol=0.05)
    assert action.dtype == np.float32 and action.shape == (3, 2)


@pytest.mark.parametrize("replan_every", [1, 2])
@pytest.mark.parametrize("history", [1, 3])
def test_blocks_history_and_queue_against_a_slow_reference(history, replan_every):
    """What rollouts are given is what was seen and done, written down here step by step."""
    model = StubWorld(action_block=2)
    env = StubEnv([[3.0, 3.0]])
    control = controller(model, history=history, replan_every=replan_every, horizon=3)
    goal, frames, done, seen = env.frames([[28, 20]]), env.frames(), [], []
    plan = np.zeros(0)
    for step in range(10):
        seen.append(np.rint(env.positions[0]).tolist())
        model.contexts.clear()
        action = control.act(frames, goal)
        if step % (2 * replan_every):
            assert not model.contexts  # the queue still holds actions
        else:
            context = model.contexts[0]
            positions = seen[::2][-history:]
            assert context["latents"][0, :, 0].tolist() == positions
            if len(positions) > 1:
                blocks = np.array(done).reshape(-1, 4)[1 - history :]
                np.testing.assert_array_equal(context["past_actions"][0].numpy(), blocks)
            else:
                assert context["past_actions"] is None
            assert context["lengths"] is None
            plan = control.planned.plan.actions[0].reshape(-1, 2).numpy()
        np.testing.assert_array_equal(action[0], plan[step % (2 * replan_every)])
        done.append(action[0])
        frames = env.step(action)
    assert np.abs(env.positions[0] - [3, 3]).max() > 5


def test_precision_changes_matrix_products_alone():
    model = world(dtype=torch.float32, grid=(2, 2))
    frames = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    goal = torch.randn(2, 4, 12, generator=torch.Generator().manual_seed(0))
    plans = {}
    for precision in ("fp32", "bf16"):
        control: Any = MPCController(
            model, QUICK, action_space=spaces.Box(-1, 1, (4,)), horizon=3, precision=precision
        )
        control.act(frames, goal)
        plans[precision] = control.planned.plan
    assert plans["bf16"].cost.dtype == torch.float32
    torch.testing.assert_close(plans["bf16"].cost, plans["fp32"].cost, rtol=0.05, atol=0)
    assert not torch.equal(plans["bf16"].cost, plans["fp32"].cost)
    with pytest.raises(ValueError, match="precision must be fp32 or bf16"):
        MPCController(model, QUICK, action_space=spaces.Box(-1, 1, (4,)), precision="fp16")


def test_warm_start_continues_the_plan():
    starts, plans = [], []

    def spy(cost_fn, init, **settings):
        starts.append(init)
        plans.append(QUICK(cost_fn, init, **settings))
        return plans[-1]

    env = StubEnv([[3.0, 3.0], [9.0, 20.0]])
    control = controller(StubWorld(), planner=spy, warm_start=0.25, replan_every=2)
    goal = env.frames([[30, 30], [30, 30]])
    drive(control, env, goal, 3)
    fresh: Any = ActionDist.initial((torch.full((2,), -2.0), torch.full((2,), 2.0)), batch=2, horizon=5)
    assert torch.equal(starts[0].mean, fresh.mean) and torch.equal(starts[0].std, fresh.std)
    before = plans[0].dist
    later = torch.cat([before.mean[:, 2:], before.mean[:, -1:], before.mean[:, -1:]], dim=1)
    assert torch.equal(starts[1].mean, later)
    assert (starts[1].std >= 0.25 * fresh.std).all() and (starts[1].std < fresh.std).any()
    control.reset(np.array([True, False]))
    drive(control, env, goal, 3)
    assert torch.equal(starts[-1].mean[0], fresh.mean[0]) or len(starts[-1].mean) == 1


def test_without_warm_start_each_plan_begins_anew():
    starts = []

    def spy(cost_fn, init, **settings):
        starts.append(init)
        return QUICK(cost_fn, init, **settings)

    env = StubEnv([[3.0, 3.0]])
    drive(controller(planner=spy, warm_start=None), env, env.frames([[30, 30]]), 2)
    assert torch.equal(starts[0].mean, starts[1].mean) and torch.equal(starts[0].std, starts[1].std)


def test_the_same_seed_acts_the_same():
    def run(seed):
        env = StubEnv(STARTS)
        drive(controller(seed=seed, planner=random_shooting), env, env.frames(ENDS), 4)
        return env.positions

    np.testing.assert_array_equal(run(1), run(1))
    assert np.abs(run(1) - run(2)).max() > 1e-3


def test_the_time_budget_is_handed_on_less_what_encoding_took():
    given = []

    def spy(cost_fn, init, *, bounds, generator, time_budget_s):
        given.append(time_budget_s)
        return cem(
            cost_fn, init, bounds=bounds, generator=generator, time_budget_s=time_budget_s, iterations=500
        )

    env = StubEnv(STARTS)
    control = controller(planner=spy, time_budget_s=0.1)
    control.act(env.frames(), env.frames(ENDS))
    assert 0 < given[0] < 0.1
    assert 1 <= control.planned.plan.iterations_done < 500
    assert 0 < control.planned.milliseconds < 60_000


def test_where_no_cost_is_finite_the_action_is_sound_and_it_is_said(caplog):
    nothing = lambda futures, actions, goal: torch.full(actions.shape[:2], torch.nan)  # noqa: E731
    env = StubEnv(STARTS)
    with caplog.at_level(logging.WARNING):
        action = controller(cost=nothing).act(env.frames())
    assert np.isfinite(action).all() and batch_space(BOX, 3).contains(action)
    assert "no candidate had a finite cost in 3 of 3 environments" in caplog.text


def test_a_planner_of_ones_own():
    def middle(cost_fn, init, *, bounds, generator):
        actions = ((bounds[0] + bounds[1]) / 2 + 0.25).expand(len(init.mean), init.mean.shape[1], -1)
        cost = cost_fn(actions[:, None])[:, 0]
        return Plan(actions, cost, init, cost[:, None], torch.zeros(len(cost), dtype=torch.long))

    env = StubEnv(STARTS)
    action = controller(planner=middle).act(env.frames(), env.frames(ENDS))
    np.testing.assert_allclose(action, 0.25)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"horizon": 2, "replan_every": 3}, "replan_every <= horizon"),
        ({"history": 0}, "history >= 1"),
        ({"warm_start": -0.1}, "warm_start None or 0 and more"),
        ({"subgoal_share": float("nan")}, "subgoal_share above 0"),
        ({"action_space": spaces.Box(-1, 1, (3,))}, "3 numbers for the model"),
        ({"action_space": spaces.Discrete(4)}, "4 numbers for the model"),
        ({"action_space": spaces.Text(3)}, "expected Box, Discrete or MultiDiscrete"),
        ({"action_space": spaces.Discrete(2)}, "takes no sizes=.*categorical_cem"),
        ({"planner": categorical_cem}, "takes no bounds=.*use cem"),
        ({"model": StubWorld(action_block=3, frames_per_step=2)}, "whole number of environment steps"),
    ],
)
def test_settings_that_do_not_fit(settings, words):
    with pytest.raises(ValueError, match=words):
        controller(**settings)


def test_what_act_and_reset_refuse():
    env = StubEnv(STARTS)
    control = controller()
    control.act(env.frames(), env.frames(ENDS))
    for observation, goal, words in (
        (env.frames()[:2], None, "2 environments, before of 3"),
        (env.positions, None, r"uint8 \[y x 3\]"),
        (env.frames() / 255, None, r"uint8 \[y x 3\]"),
        ({"a": env.frames(), "b": env.frames()}, None, "name the one to be used by pixels=KEY"),
        (env.frames(), env.frames(ENDS)[:2], "one for each of 3"),
        (env.frames(), [], "at least one"),
        (env.frames(), torch.zeros(3, 4, 2), r"a goal must be a latent \[b p d\]"),
        (env.frames(), None, r"a goal must be a latent \[b p d\]"),
    ):
        with pytest.raises(ValueError, match=words):
            control.act(observation, goal)
    with pytest.raises(ValueError, match="mask must be 3 truth values"):
        control.reset([1, 0, 0])
    control.model.train()
    with pytest.raises(ValueError, match=r"call model.eval\(\)"):
        control.act(env.frames(), env.frames(ENDS))


def test_it_drives_a_real_model_in_a_real_vector_environment():
    """Shapes and masks through WorldModel, Gymnasium's spaces and same-step autoreset."""
    model = world(grid=(2, 2), dtype=torch.float32)
    model.action_block = 2
    env = gymnasium.make_vec("worldjepa/Point-v0", num_envs=3, max_episode_steps=4)
    planner = functools.partial(cem, num_samples=20, num_elites=5, iterations=2)
    control: Any = MPCController(model, planner, action_space=env.action_space, horizon=3, history=3)
    frames, _ = env.reset(seed=0)
    goal = frames[::-1].copy()
    for _ in range(7):
        action = control.act(frames, goal)
        assert env.action_space.contains(action)
        frames, _, terminated, truncated, _ = env.step(action)
        control.reset(terminated | truncated)
    env.close()
    assert control.planned.plan.cost.isfinite().all()


@pytest.mark.parametrize("acted", [0, 1])
def test_what_was_refused_may_be_tried_again(acted):
    """A goal that cannot be read, then the same moment again: as if nothing had come between."""
    env, goal = StubEnv(STARTS), StubEnv(STARTS).frames(ENDS)
    tried, plain = (controller(history=3) for _ in range(2))
    for _ in range(acted):
        actions = [one.act(env.frames(), goal) for one in (tried, plain)]
        env.step(actions[0])
    with pytest.raises(ValueError, match="at least one"):
        tried.act(env.frames(), [])
    np.testing.assert_array_equal(tried.act(env.frames(), goal), plain.act(env.frames(), goal))
    contexts = [one.planned.context for one in (tried, plain) if one.planned]
    assert torch.equal(contexts[0].latents, contexts[1].latents)
    assert len(contexts[0].latents[0]) == 1 + acted


def test_a_model_in_training_mode_encodes_nothing():
    env = StubEnv(STARTS)
    world = StubWorld()
    control = controller(world)
    world.train()
    with pytest.raises(ValueError, match=r"call model.eval\(\)"):
        control.act(env.frames(), env.frames(ENDS))
    assert world.calls == 0
