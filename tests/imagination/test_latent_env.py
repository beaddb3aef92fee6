"""Real environments seen as latents equal what is worked out by hand from single environments."""

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from stable_baselines3 import PPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecMonitor

import worldjepa
from tests.imagination.dreams import dreaming, some_starts
from tests.model.worlds import redrawn
from worldjepa.imagination import ImaginedVectorEnv, as_sb3_vec_env
from worldjepa.imagination.latent_env import LatentVectorEnv, _fill
from worldjepa.model.encoder import VideoEncoder

ID = "worldjepa/Point-v0"


def real(model, num_envs=3, *, kind="vector_entry_point", steps=5, mode="Disabled", **settings):
    given: dict[str, Any] = {"autoreset_mode": mode}
    given = {"vector_kwargs": given} if kind == "sync" else given
    made = gymnasium.make_vec(
        ID, num_envs=num_envs, vectorization_mode=kind, max_episode_steps=steps, **given
    )
    return LatentVectorEnv(made, model, **settings)


def seeing(frames_per_step):
    """Return a model whose latent steps are of one frame, or of the two at the end of a block."""
    model = dreaming(dtype=torch.float32)
    if frames_per_step == 2:
        model.encoder = redrawn(
            VideoEncoder(
                dim=12,
                depth=1,
                num_heads=2,
                patch_size=8,
                tubelet_size=2,
                attention="step",
                frames_per_step=2,
            )
        )
    return model.eval()


def by_hand(model, seed, actions, steps=5):
    """Play one environment; return for each block: observation, reward sum, ended, final observation."""
    env = gymnasium.make(ID, max_episode_steps=steps)
    count = model.encoder.frames_per_step

    def encoded(frames):
        clip = torch.from_numpy(np.stack(frames[-count:])).movedim(-1, 1)
        return model.encode(clip[None])[0, 0].flatten().detach().numpy()

    frame, _ = env.reset(seed=seed)
    found = [encoded([frame, frame])]
    for block in actions:
        frames, total, over, cut_short = [], 0.0, False, False
        for number, action in enumerate(block.reshape(2, 2)):
            if not over:
                frame, reward, terminated, over, _ = env.step(action)
                total += float(reward)
                assert not terminated
                cut_short = over and number == 0
            frames.append(frame)
        final = encoded(frames)
        if over:
            if cut_short:
                env.reset()  # by which the batch goes on without this row
            frame, _ = env.reset()
        found.append((encoded([frame, frame]) if over else final, total, over, final))
    return found


@pytest.mark.parametrize("kind", ["sync", "vector_entry_point"])
@pytest.mark.parametrize("frames_per_step", [1, 2])
@pytest.mark.parametrize("steps", [4, 5])
def test_blocks_are_carried_out_and_seen_as_latents(kind, frames_per_step, steps):
    """Episodes of 5 steps end within a block of 2; what is left of it is not done."""
    model = seeing(frames_per_step)
    env = real(model, kind=kind, steps=steps)
    rng = np.random.default_rng(0)
    actions = rng.uniform(-1, 1, (8, 3, 4)).astype(np.float32)
    hands = [by_hand(model, 20 + row, actions[:, row], steps) for row in range(3)]
    observation, _ = env.reset(seed=20)
    np.testing.assert_allclose(observation, [hand[0] for hand in hands], atol=1e-5)
    for number in range(8):
        observation, rewards, terminated, truncated, infos = env.step(actions[number])
        expected = [hand[1 + number] for hand in hands]
        np.testing.assert_allclose(observation, [one[0] for one in expected], atol=1e-5)
        np.testing.assert_allclose(rewards, [one[1] for one in expected], atol=1e-6)
        assert truncated.tolist() == [one[2] for one in expected] and not terminated.any()
        assert ("final_obs" in infos) == truncated.any()
        if truncated.any():
            np.testing.assert_allclose(np.stack(infos["final_obs"]), [one[3] for one in expected], atol=1e-5)
    env.close()


def test_infos_tell_of_the_last_step_of_each_episode():
    model = seeing(1)
    env = real(model, steps=3)
    _, start = env.reset(seed=0, options={"state": np.full(2, 0.5), "goal": np.array([0.9, 0.5])})
    right = np.tile(np.array([1, 0, 1, 0], np.float32), (3, 1))
    _, _, _, _, infos = env.step(right)
    np.testing.assert_allclose(infos["position"], np.tile([0.5 + 40 / 224, 0.5], (3, 1)), atol=1e-6)
    _, _, _, truncated, infos = env.step(right)
    assert truncated.all() and infos["_final_info"].all()
    np.testing.assert_allclose(
        infos["final_info"]["position"], np.tile([0.5 + 60 / 224, 0.5], (3, 1)), atol=1e-6
    )
    assert infos["final_info"]["success"].dtype == bool
    np.testing.assert_array_equal(infos["position"], infos["start"])  # of the next episode
    assert not np.allclose(infos["start"], start["start"])


def test_it_has_the_spaces_of_imagination_and_agents_go_from_one_to_the_other():
    model = seeing(1)
    dream = ImaginedVectorEnv(model, some_starts(model), num_envs=4, horizon=5, pooled=True)
    env = real(model, num_envs=4, pooled=True)
    assert worldjepa.LatentVectorEnv is LatentVectorEnv
    assert env.observation_space == dream.observation_space and env.action_space == dream.action_space
    assert env.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    agent = PPO("MlpPolicy", as_sb3_vec_env(dream), n_steps=4, batch_size=8, n_epochs=1, device="cpu", seed=0)
    agent.learn(16)
    scored = VecMonitor(as_sb3_vec_env(env))
    returns, lengths = evaluate_policy(agent, scored, n_eval_episodes=8, return_episode_rewards=True)
    assert lengths == [3] * 8  # blocks of 2 in 5 steps
    assert np.max(returns) < 0 and np.min(returns) > -5 * 1.5


def test_what_does_not_fit_is_refused():
    model = seeing(1)
    for mode in ("SameStep", "NextStep"):
        with pytest.raises(ValueError, match=rf"autoreset_mode={mode}.*'Disabled'"):
            real(model, mode=mode)
    with pytest.raises(ValueError, match="training mode"):
        real(seeing(1).train())
    model.action_block = 3
    with pytest.raises(ValueError, match="blocks of 3 steps have 6; the model reads 4"):
        real(model)
    model.action_block = 2
    with pytest.raises(gymnasium.error.ResetNeeded):
        real(model).step(np.zeros((3, 4)))


def test_an_info_may_be_whole_in_one_step_and_a_fraction_in_the_next():
    every = np.ones(2, bool)
    told = _fill({}, {"distance": np.array([0, 0])}, every)
    assert _fill(told, {"distance": np.array([0.5, 0.25])}, every)["distance"].tolist() == [0.5, 0.25]
