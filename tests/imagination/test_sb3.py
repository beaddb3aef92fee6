"""Stable-Baselines3 sees the same transitions, and its PPO learns in imagination."""

import sys

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecEnv, VecMonitor

from tests.imagination.dreams import dreaming, some_starts
from worldjepa.data.episodes.action_spec import action_spec
from worldjepa.imagination import ImaginedVectorEnv, Starts, as_sb3_vec_env


def dream(mode="SameStep", **settings):
    model = dreaming(heads=("reward", "termination"), depth=1)
    return ImaginedVectorEnv(
        model, some_starts(model), num_envs=6, horizon=2, autoreset_mode=mode, **settings
    )


def test_the_same_transitions_bit_for_bit():
    plain, env = dream(), as_sb3_vec_env(dream())
    assert isinstance(env, VecEnv)
    assert env.observation_space == plain.single_observation_space
    assert env.action_space == plain.single_action_space
    env.seed(9)
    expected, _ = plain.reset(seed=9)
    np.testing.assert_array_equal(env.reset(), expected)
    plain.action_space.seed(1)
    kinds = set()
    for _ in range(20):
        actions = plain.action_space.sample()
        expected, rewards, terminated, truncated, finals = plain.step(actions)
        found, got, dones, infos = env.step(actions)
        np.testing.assert_array_equal(found, expected)
        np.testing.assert_array_equal(got, rewards)
        np.testing.assert_array_equal(dones, terminated | truncated)
        for row, info in enumerate(infos):
            kinds.add((bool(terminated[row]), bool(truncated[row])))
            assert info["TimeLimit.truncated"] == (truncated[row] and not terminated[row])
            assert ("terminal_observation" in info) == dones[row]
            if dones[row]:
                np.testing.assert_array_equal(info["terminal_observation"], finals["final_obs"][row])
    assert {(False, False), (True, False), (False, True)} <= kinds


def test_infos_are_those_of_the_row():
    members = [dreaming(seed=4, depth=1)]
    env, plain = as_sb3_vec_env(dream(ensemble=members)), dream(ensemble=members)
    env.seed(0)
    env.reset()
    plain.reset(seed=0)
    for _ in range(4):
        _, _, _, infos = env.step(np.zeros((6, 4)))
        apart = plain.step(np.zeros((6, 4)))[4]["disagreement"]
        assert [info["disagreement"] for info in infos] == apart.tolist()
    assert env.get_attr("horizon", [0, 2]) == [2, 2] and env.get_attr("render_mode") == [None] * 6
    env.set_attr("horizon", 9)
    assert env.get_attr("horizon", 0) == [9] and env.env_is_wrapped(VecMonitor) == [False] * 6


def test_environments_that_reset_later_are_refused():
    with pytest.raises(ValueError, match="autoreset_mode='SameStep', it has NextStep"):
        as_sb3_vec_env(dream("NextStep"))


def test_without_the_package_it_says_what_to_install(monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "stable_baselines3"]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "worldjepa.imagination.sb3")
    with pytest.raises(ImportError, match=r"python -m pip install stable-baselines3$"):
        as_sb3_vec_env(dream())


class FirstNumber(torch.nn.Module):
    """A reward that an agent can raise: the first number of the latent."""

    def forward(self, latents):
        return latents[..., 0, 0]


def test_ppo_learns_in_imagination():
    torch.manual_seed(0)
    model = dreaming(dtype=torch.float32, depth=1)
    model.heads["reward"] = FirstNumber()
    env = as_sb3_vec_env(ImaginedVectorEnv(model, some_starts(model), num_envs=16, horizon=5))
    agent = PPO("MlpPolicy", env, n_steps=16, batch_size=64, seed=0, device="cpu", learning_rate=1e-3)
    env.seed(100)
    before, _ = evaluate_policy(agent, VecMonitor(env), n_eval_episodes=32)
    agent.learn(4 * 16 * 16)
    env.seed(100)
    after, _ = evaluate_policy(agent, VecMonitor(env), n_eval_episodes=32)
    assert np.subtract(after, before) > 0.5


@pytest.mark.parametrize("space", [spaces.Discrete(4), spaces.Discrete(2), spaces.MultiDiscrete([2, 2])])
def test_ppo_acts_with_choices(space):
    model = dreaming(dtype=torch.float32)
    spec = action_spec(space)
    model.action_block = 4 // spec.dim
    starts = some_starts(model)
    env = as_sb3_vec_env(
        ImaginedVectorEnv(model, Starts(starts.latents, spec, starts.past_actions), num_envs=4, horizon=3)
    )
    agent = PPO("MlpPolicy", env, n_steps=8, batch_size=16, n_epochs=1, seed=0, device="cpu").learn(32)
    assert agent.num_timesteps == 32
