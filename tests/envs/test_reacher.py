"""Reacher, what it tells and how it is drawn; what is told where a package is absent."""

import importlib.util

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.error import DependencyNotInstalled

import worldjepa.envs
from worldjepa.envs.reacher import Reacher
from worldjepa.envs.requirements import require

assert worldjepa.envs  # registers the ids


class Robot(gymnasium.Env):
    """An arm that is told of in a Dict; an action moves it and is its reward."""

    observation_space = spaces.Dict(
        {"pixels": spaces.Box(0, 255, (4, 4, 3), np.uint8), "position": spaces.Box(-9, 9, (2,))}
    )
    action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.arm = np.array([0.5, -2.0]) + 2 * np.pi
        return self._observation(), {"kind": object()}

    def step(self, action):
        self.arm += action
        return self._observation(), float(action), False, False, {"kind": object()}

    def _observation(self):
        return {"pixels": np.zeros((4, 4, 3), np.uint8), "position": self.arm}


def test_info_tells_vectors_joints_and_success():
    env = Reacher(Robot())
    observation, info = env.reset(seed=0)
    assert set(observation) == {"pixels", "position"} and set(info) == {"position", "joints", "success"}
    expected = [np.cos(0.5), np.cos(2.0), np.sin(0.5), -np.sin(2.0)]
    np.testing.assert_allclose(info["joints"], expected)  # a whole turn is none
    assert info["success"] is False
    _, reward, _, _, told = env.step(1)
    assert (reward, told["success"]) == (1.0, True)
    np.testing.assert_allclose(told["position"] - info["position"], 1.0)  # a copy, which the step left alone
    assert env.step(0)[-1]["success"] is False


@pytest.mark.parametrize(
    ("name", "package", "extra"),
    [("worldjepa/PushT-v0", "gym_pusht", "pusht"), ("worldjepa/Reacher-v0", "shimmy", "dm-control")],
)
def test_an_absent_package_is_named_with_the_command(name, package, extra, monkeypatch):
    if importlib.util.find_spec(package):
        env = gymnasium.make(name)
        first, info = env.reset(seed=0)
        assert env.observation_space.contains(first) and first["pixels"].dtype == np.uint8
        assert info["success"] is False
        assert (first["pixels"] == gymnasium.make(name).reset(seed=0)[0]["pixels"]).all()
        return
    with pytest.raises(DependencyNotInstalled) as caught:
        gymnasium.make(name)
    said = f"{name} needs {package}, which is not installed: pip install 'worldjepa[{extra}]'"
    assert str(caught.value) == said


def test_a_plain_reacher_draws_the_arm_alone():
    pytest.importorskip("shimmy.dm_control_compatibility", reason="needs dm-control")
    pictures = [
        gymnasium.make("worldjepa/Reacher-v0", plain=plain).reset(seed=0)[0]["pixels"].astype(int)
        for plain in (True, False)
    ]
    red = [(one[..., 0] - one[..., 2] > 60) & (one[..., 1] < 140) for one in pictures]  # the target's ball
    assert red[0].sum() < 10 < red[1].sum()  # the finger's tip is red as well


def test_the_command_stands_in_one_line():
    with pytest.raises(DependencyNotInstalled, match=r"^a/B-v0 needs no, .*pip install 'worldjepa\[c\]'$"):
        require("no.part", "c", "a/B-v0")
    with pytest.raises(ValueError, match="easy or hard, got 'mid'"):
        gymnasium.make("worldjepa/Reacher-v0", difficulty="mid")
