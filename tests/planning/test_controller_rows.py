"""Rows of a batch that one controller acts for: each restarts, waits and acts as if it were alone."""

import numpy as np
import pytest
import torch

from tests.planning.driving import ENDS, STARTS, controller, drive
from tests.planning.stub_world import StubEnv, StubWorld


def test_rows_restart_on_their_own_and_equal_themselves_run_alone():
    """Row 1 is reset after 3 steps, within a block; each row acts as a controller of its own would."""
    settings = {"history": 3, "horizon": 3}
    ends = [[20, 25], [5, 5]]

    def run(rows, resets, seeds_of_rows):
        model = StubWorld(action_block=2)
        env = StubEnv([STARTS[row] for row in rows])
        control = controller(model, **settings)
        taken = []
        for step in range(8):
            if step == 3 and resets:
                mask = np.array([row == 1 for row in rows])
                env.positions[mask] = [30, 30]
                control.reset(mask)
            if not taken:  # the streams of these rows in the batch of all
                control._begin(len(rows))
                control._generators = [torch.Generator().manual_seed(seed) for seed in seeds_of_rows]
            taken.append(control.act(env.frames(), env.frames([ends[row] for row in rows])))
            env.step(taken[-1])
        return np.stack(taken), model

    whole, model = run([0, 1], True, [10, 11])
    assert any(context["lengths"] is not None for context in model.contexts) is False  # phases differ: alone
    for row in (0, 1):
        alone, _ = run([row], True, [10 + row])
        np.testing.assert_array_equal(whole[:, row], alone[:, 0])


def test_rows_of_different_lengths_are_planned_together():
    model = StubWorld()
    env = StubEnv(STARTS)
    control = controller(model, history=3)
    goal = env.frames(ENDS)
    drive(control, env, goal, 3)
    control.reset(np.array([False, True, False]))
    env.positions[1] = [7, 9]
    model.contexts.clear()
    control.act(env.frames(), goal)
    context = model.contexts[0]
    assert context["lengths"].tolist() == [3, 1, 3]
    assert context["latents"][1, -1, 0].tolist() == [7, 9]
    assert (context["latents"][1, :-1] == 0).all() and (context["past_actions"][1] == 0).all()
    assert (context["past_actions"][0] != 0).any()


def test_rows_that_are_not_active_stand_still_and_leave_the_others_as_they_are():
    """After ending their block; and they go on when they are wanted again, at the block's end."""
    control, same = (controller(StubWorld(action_block=2)) for _ in range(2))
    env, other = StubEnv(STARTS), StubEnv(STARTS)
    goal = env.frames(ENDS)
    for step in range(7):
        active = np.array([True, not 1 <= step <= 4, True])
        action = control.act(env.frames(), goal, active)
        expected = same.act(other.frames(), goal)
        assert np.array_equal(action[[0, 2]], expected[[0, 2]])
        assert bool((action[1] == 0).all()) == (step in (2, 3, 4, 5))
        if step in (2, 6):
            assert control.planned.rows == ((0, 2) if step == 2 else (0, 1, 2))
        env.step(action)
        other.step(expected)
    with pytest.raises(ValueError, match="active must be 3 truth values"):
        control.act(env.frames(), goal, [True, False])
