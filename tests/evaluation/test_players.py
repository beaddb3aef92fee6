"""Who reaches goals: the recorded actions all, doing nothing none, a perfect model nearly all."""

from functools import partial
from typing import Any

import gymnasium
import numpy as np
import torch

from tests.evaluation.recorded import TWO_ROOMS
from worldjepa.build_planner import build_controller
from worldjepa.evaluation.goals import Ground, Tasks, draw_tasks
from worldjepa.evaluation.oracle import OracleWorld
from worldjepa.evaluation.players import Planner, copied, no_op, play, random_actions
from worldjepa.evaluation.report import outcome
from worldjepa.settings.planning import PlanningConfig, Protocol

EXPERT = Protocol("expert", goal_offset=12, budget=24, episodes=10)
BOX = gymnasium.spaces.Box(-1, 1, (2,), np.float32)


def oracle(ground: Ground, tasks: Tasks) -> Any:
    seeds = [ground.episodes.seeds[place.episode] for place in tasks.starts]
    return OracleWorld(TWO_ROOMS, [seed or 0 for seed in seeds], action_block=3, state_dim=2)


def test_baselines(ground: Ground):
    tasks = draw_tasks(ground, EXPERT, seed=0)
    attempt = partial(play, ground, tasks, budget=24)
    copy = attempt(copied(ground, tasks, budget=24))
    assert copy.reached.all()
    assert copy.steps.max() <= 12
    assert not attempt(no_op).reached.any()
    first, again, other = (attempt(random_actions(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first.actions, again.actions)
    assert not np.array_equal(first.actions[:, :10], other.actions[:, :10])


def test_steps_count_from_the_start(ground: Ground):
    """The recorded positions say after how many steps the goal's neighbourhood is entered."""
    tasks = draw_tasks(ground, EXPERT, seed=1)
    played = play(ground, tasks, copied(ground, tasks, budget=24), budget=24)
    for task, steps in zip(tasks.tasks, played.steps, strict=True):
        start = task.start.step
        states = ground.episodes.read(task.start.episode, (), start, task.goal.step).state
        assert states is not None
        near = np.linalg.norm(states - states[-1], axis=1) < ground.success.tolerances["position"]
        assert steps == np.flatnonzero(near)[0]


def test_the_oracle_predicts_what_the_environment_does(ground: Ground):
    """Each candidate of each row, against a single environment set to the row's state."""
    tasks = draw_tasks(ground, EXPERT, seed=2)
    world = oracle(ground, tasks)
    rng = np.random.default_rng(0)
    states = np.stack([task.at_start.info["position"] for task in tasks.tasks])
    for candidates in (4, 2, 5):  # fewer than there is room for, then more
        actions = rng.uniform(-2, 2, (10, candidates, 2, 6)).astype(np.float32)
        measured = np.concatenate([states, np.arange(10)[:, None]], axis=1, dtype=np.float32)
        state = world.start(torch.zeros(10, 1, 1, 1), proprioception=torch.tensor(measured[:, None]))
        future = world.futures(state, torch.tensor(actions))
        some = world.futures(state[3:5], torch.tensor(actions[3:5]))
        assert torch.equal(some, future[3:5])
        assert future.shape == (10, candidates, 2, 1, 2)
        for row, place in enumerate(tasks.starts):
            alone: Any = gymnasium.make("worldjepa/TwoRooms-v0", **TWO_ROOMS.kwargs)
            alone.reset(seed=ground.episodes.seeds[place.episode])
            for candidate in range(candidates):
                alone.unwrapped.set_state(states[row])
                for block in range(2):
                    moves = np.clip(actions[row, candidate, block].reshape(3, 2), -1, 1)
                    info = [alone.unwrapped.step(move)[-1] for move in moves][-1]
                    assert np.array_equal(future[row, candidate, block, 0], info["position"])
    world.close()


def test_planning_with_a_perfect_model(ground: Ground):
    """It reaches what the behaviour reached, through the wall's door too, and says how long plans took."""
    tasks = draw_tasks(ground, EXPERT, seed=0)
    world, goals = oracle(ground, tasks), tasks.goal_states()
    assert goals is not None
    settings = PlanningConfig(
        planner_settings={"num_samples": 64, "num_elites": 8, "iterations": 3},
        horizon=4,
        reduction="smallest",
    )
    controller = build_controller(settings, world, space=BOX, seed=0, proprioception=("state", "room"))
    planner = Planner(controller, goals[:, None])
    played = play(ground, tasks, planner, budget=24)
    found = outcome(tasks, played, planner)
    assert found["success_rate"] >= 0.9
    rows = [rows for _, rows in planner.milliseconds]
    trying = [int(((played.steps == 0) | (played.steps > 3 * call)).sum()) for call in range(len(rows))]
    assert rows == trying and rows[0] == 10 > rows[-1], "rows that are there are not planned for"
    each = np.median([call / rows for call, rows in planner.milliseconds])
    assert found["planning_ms_per_environment"] == each > 0
    assert sum(part["episodes"] for part in found["groups"].values()) == 10
    assert found["steps_to_goal"] == np.median(played.steps[played.reached])
    calls = -(-played.actions.shape[1] // 3)
    assert [plan.shape for plan in planner.plans] == [(10, 4, 6)] * calls
    first = planner.plans[0][:, 0].reshape(10, 3, 2)
    assert np.array_equal(first, played.actions[:, :3])
    world.close()
