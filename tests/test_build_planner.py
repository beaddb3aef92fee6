"""From settings to planner, cost and controller."""

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from tests.planning.stub_world import StubEnv, StubWorld
from worldjepa.build_planner import build_controller, build_cost, build_planner
from worldjepa.settings.planning import PlanningConfig
from worldjepa.settings.schema import ConfigError

BOX = gymnasium.spaces.Box(-1, 1, (2,), np.float32)


@pytest.mark.parametrize(
    ("settings", "discrete", "name"),
    [
        (PlanningConfig(), False, "icem"),
        (PlanningConfig(), True, "categorical_cem"),
        (PlanningConfig(planner="mppi", planner_settings={"temperature": 0.2}), False, "mppi"),
    ],
)
def test_the_planner_by_its_name(settings: PlanningConfig, discrete: bool, name: str):
    planner: Any = build_planner(settings, discrete=discrete, action_block=5)
    own = {"action_block": 5} if name == "icem" else {}
    assert (planner.func.__name__, planner.keywords) == (name, settings.planner_settings | own)


def test_what_a_planner_does_not_take_is_refused():
    with pytest.raises(ConfigError, match=r"plan.planner_settings.num_sample: icem has no .*num_samples\?"):
        build_planner(PlanningConfig(planner_settings={"num_sample": 3}), discrete=False, action_block=1)
    with pytest.raises(ConfigError, match=r"plan.planner=cem: .* discrete; choose categorical_cem"):
        build_planner(PlanningConfig(planner="cem"), discrete=True, action_block=1)


@pytest.mark.parametrize(
    ("argument", "value", "expected"),
    [
        ("num_samples", "abc", "a whole number, such as 300"),
        ("iterations", 2.5, "a whole number, such as 6"),
        ("iterations", True, "a whole number"),
        ("shrink", None, "a number, such as 1.0"),
        ("min_std", float("nan"), "a number, such as 0.01"),
    ],
)
def test_arguments_of_another_kind_are_refused(argument: str, value: Any, expected: str):
    with pytest.raises(ConfigError, match=rf"plan.planner_settings.{argument}={value}: expected {expected}"):
        build_planner(PlanningConfig(planner_settings={argument: value}), discrete=False, action_block=1)


@pytest.mark.parametrize(
    ("name", "expected"), [("last", 9.0), ("smallest", 1.0), ("last_plus", 9 + 0.5 * 5), ("mean", 14 / 3)]
)
def test_costs_by_their_names(name: str, expected: float):
    cost = build_cost(PlanningConfig(reduction=name, reduction_weight=0.5))
    futures = torch.tensor([2.0, 1.0, 3.0]).reshape(1, 1, 3, 1, 1)
    assert cost(futures, torch.zeros(1, 1, 3, 2), torch.zeros(1, 1, 1)).item() == pytest.approx(expected)


def test_a_controller_that_drives():
    """Two dots reach their goals in the world of the stub."""
    world, env = StubWorld(), StubEnv([[3.0, 3.0], [20.0, 9.0]])
    settings = PlanningConfig(planner_settings={"num_samples": 64, "num_elites": 8, "iterations": 4})
    controller = build_controller(settings, world, space=BOX, seed=0)
    goals = env.frames([[7.0, 5.0], [17.0, 12.0]])
    frames = env.frames()
    for _ in range(8):
        frames = env.step(controller.act({"pixels": frames}, goals))
    assert np.abs(env.positions - [[7.0, 5.0], [17.0, 12.0]]).max() < 1
