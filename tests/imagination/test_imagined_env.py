"""What is imagined equals ``rollout``; episodes begin, end and begin anew as Gymnasium says."""

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.wrappers.vector import RecordEpisodeStatistics

import worldjepa
from tests.imagination.dreams import dreaming, some_starts
from worldjepa.data.episodes.action_spec import action_spec
from worldjepa.imagination import ImaginedVectorEnv
from worldjepa.imagination.ensemble import disagreement
from worldjepa.model.rollout import State


def drawn_actions(env, steps, seed=5):
    env.action_space.seed(seed)
    return [env.action_space.sample() for _ in range(steps)]


def episodes(env, actions, seed=3):
    """Return observations [steps + 1 ...] and what each step returned beside them."""
    observation, _ = env.reset(seed=seed)
    seen, told = [observation], []
    for action in actions:
        observation, *rest = env.step(action)
        seen.append(observation)
        told.append(rest)
    return np.stack(seen), told


def picked(env, seed, rows):
    """Return which starts the rows draw first, worked out from Gymnasium's seeding alone."""
    rngs = [seeding.np_random(seed + row)[0] for row in range(rows)]
    return torch.tensor([int(rng.integers(len(env.starts))) for rng in rngs])


@pytest.mark.parametrize("predictor", [{}, {"window": 2}, {"conditioning": "tokens"}])
def test_steps_equal_rollout(predictor):
    model = dreaming(**predictor)
    env = ImaginedVectorEnv(model, some_starts(model), num_envs=4, horizon=6)
    actions = drawn_actions(env, 6)
    seen, told = episodes(env, actions)
    numbers = picked(env, 3, 4)
    latents, past = env.starts.latents[numbers], env.starts.past_actions
    assert past is not None
    blocks = torch.from_numpy(np.stack(actions, axis=1)).double()
    future = model.rollout(latents, blocks, past_actions=past[numbers]).detach()
    np.testing.assert_allclose(seen[0], latents[:, -1].flatten(1), atol=1e-6)
    np.testing.assert_allclose(seen[1:6], future[:, :5].flatten(2).transpose(0, 1), atol=1e-5)
    last = np.stack(told[-1][3]["final_obs"])
    np.testing.assert_allclose(last, future[:, 5].flatten(1), atol=1e-5)
    rewards = model.heads["reward"](future).detach()
    np.testing.assert_allclose(np.stack([step[0] for step in told], axis=1), rewards, atol=1e-5)
    assert [step[2].tolist() for step in told] == [[False] * 4] * 5 + [[True] * 4]


def test_spaces_flattened_and_pooled():
    model = dreaming(dtype=torch.float32)
    starts = some_starts(model)
    flat, pooled = (ImaginedVectorEnv(model, starts, num_envs=3, pooled=pooled) for pooled in (False, True))
    assert isinstance(flat, VectorEnv) and worldjepa.ImaginedVectorEnv is ImaginedVectorEnv
    assert flat.observation_space.shape == (3, 48) and pooled.observation_space.shape == (3, 12)
    assert flat.single_action_space == gymnasium.spaces.Box(-1, 1, (4,))
    for env in (flat, pooled):
        observation, _ = env.reset(seed=0)
        assert env.observation_space.contains(observation)
    tokens = flat.reset(seed=0)[0].reshape(3, 4, 12)
    np.testing.assert_allclose(pooled.reset(seed=0)[0], tokens.mean(axis=1), atol=1e-6)


def test_actions_beyond_the_box_are_clipped_as_the_environment_would_clip_them():
    model = dreaming()
    env = ImaginedVectorEnv(model, some_starts(model), num_envs=2)
    env.reset(seed=0)
    wild = env.step(np.full((2, 4), 9.0))[0]
    env.reset(seed=0)
    np.testing.assert_array_equal(wild, env.step(np.ones((2, 4)))[0])


@pytest.mark.parametrize("action", [np.full((2, 4), np.nan), np.zeros((3, 3)), np.zeros(4)])
def test_other_actions_are_refused(action):
    model = dreaming()
    env = ImaginedVectorEnv(model, some_starts(model), num_envs=2)
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"expected a row of Box|must be finite"):
        env.step(action)


class Above(torch.nn.Module):
    """Says to stop where the first number of a latent is above ``edge``."""

    def __init__(self, edge: float):
        super().__init__()
        self.edge = edge

    def forward(self, latents):
        return latents[..., 0, 0] - self.edge


def ending_env(mode, num_envs=5, edge=1.0, horizon=4):
    model = dreaming()
    model.heads["termination"] = Above(edge)
    starts = some_starts(model)
    return ImaginedVectorEnv(model, starts, num_envs=num_envs, horizon=horizon, autoreset_mode=mode)


def test_rows_are_independent_and_restarts_leave_the_others_as_they_were():
    """Rows that end at their own times: each equals an environment of that row alone."""
    together = ending_env("SameStep")
    actions = drawn_actions(together, 25)
    seen, told = episodes(together, actions, seed=11)
    ends = np.stack([step[1] | step[2] for step in told])
    assert 0 < np.stack([step[1] for step in told]).sum() < ends.sum()
    assert len({tuple(column) for column in ends.T}) > 1  # not all at once
    for row in range(5):
        alone = ending_env("SameStep", num_envs=1)
        one, rest = episodes(alone, [action[row : row + 1] for action in actions], seed=11 + row)
        np.testing.assert_allclose(one[:, 0], seen[:, row], atol=1e-5)
        for part in range(3):
            np.testing.assert_allclose(
                [step[part][0] for step in rest], [step[part][row] for step in told], atol=1e-5
            )


def test_next_step_gives_the_same_episodes_one_step_later():
    """The step after an end takes no action: it shows the next start, with reward 0."""
    same, later = ending_env("SameStep", num_envs=1), ending_env(AutoresetMode.NEXT_STEP, num_envs=1)
    actions = drawn_actions(same, 12)
    expected, _ = same.reset(seed=2)
    observation, _ = later.reset(seed=2)
    for action in actions:
        np.testing.assert_array_equal(observation, expected)
        expected, *told, infos = same.step(action)
        observation, *found, infos_later = later.step(action)
        assert [one.tolist() for one in found] == [one.tolist() for one in told]
        assert "final_obs" not in infos_later
        if told[1][0] or told[2][0]:
            np.testing.assert_array_equal(observation[0], infos["final_obs"][0])
            observation, reward, terminated, truncated, _ = later.step(np.ones((1, 4)))
            assert (reward[0], terminated[0], truncated[0]) == (0, False, False)
    assert later.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP


@pytest.mark.parametrize("edge", [0.3, 1.0])
def test_terminated_above_one_half_and_what_ended_is_in_the_infos(edge):
    env = ending_env("SameStep", edge=edge)
    starts = env.starts.latents[:, -1].flatten(1).float().numpy()
    env.reset(seed=0)
    for action in drawn_actions(env, 8):
        observation, _, terminated, truncated, infos = env.step(action)
        ended = terminated | truncated
        finals = infos.get("final_obs", np.full(5, None))
        assert [last is not None for last in finals] == ended.tolist()
        shown = [seen if last is None else last for seen, last in zip(observation, finals, strict=True)]
        assert terminated.tolist() == [one[0] > edge for one in shown]
        for row in np.flatnonzero(ended):
            assert np.abs(starts - observation[row]).max(axis=1).min() < 1e-6
        if ended.any():
            assert infos["_final_obs"].tolist() == infos["_final_info"].tolist() == ended.tolist()


def test_seeds_reproduce_and_differ():
    env = ending_env("SameStep")
    actions = drawn_actions(env, 10)
    first, again, other = (episodes(env, actions, seed=seed)[0] for seed in (4, 4, 40))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    listed, _ = env.reset(seed=[4, 5, 6, 7, 8])
    np.testing.assert_array_equal(listed, first[0])
    with pytest.raises(ValueError, match="one seed for each of 5"):
        env.reset(seed=[1])


def test_the_past_does_not_grow_with_restarts():
    env = ending_env("SameStep", horizon=4)
    episodes(env, drawn_actions(env, 40))
    (state,) = env._states
    assert isinstance(state, State)
    assert max(layer.keys.shape[2] for layer in state.past if layer is not None) <= (3 + 4) * 4


def test_an_ensemble_disagrees_from_the_same_place():
    models = [dreaming(seed=seed) for seed in (0, 7, 8)]
    starts = some_starts(models[0])
    env = ImaginedVectorEnv(models[0], starts, num_envs=3, horizon=5, ensemble=models[1:], penalty=0.5)
    plain = ImaginedVectorEnv(models[0], starts, num_envs=3, horizon=5)
    actions = drawn_actions(env, 5)
    seen, told = episodes(env, actions)
    without, told_plain = episodes(plain, actions)
    np.testing.assert_array_equal(seen, without)
    states = [starts.begin(model, picked(env, 3, 3)) for model in models]
    for number, action in enumerate(actions):
        block = torch.from_numpy(action).double()
        steps = [model.step(state, block) for model, state in zip(models, states, strict=True)]
        states = [model.observe(state, steps[0][1]) for model, (state, _) in zip(models, steps, strict=True)]
        apart = torch.stack([latent for _, latent in steps]).detach().numpy().std(axis=0).mean(axis=(1, 2))
        infos = told[number][3]
        np.testing.assert_allclose(infos["disagreement"], apart, rtol=1e-5)
        assert apart.min() > 0.01 and infos["_disagreement"].all()
        np.testing.assert_allclose(told[number][0], told_plain[number][0] - 0.5 * apart, atol=1e-5)
    last = told[-1][3]
    np.testing.assert_array_equal(last["final_info"]["disagreement"], last["disagreement"])


def test_disagreement_of_two_numbers():
    latents = [torch.tensor([[[1.0, 5.0]]]), torch.tensor([[[3.0, 5.0]]])]
    assert disagreement(latents).tolist() == [0.5]


def test_members_that_do_not_fit_are_refused():
    model = dreaming()
    starts = some_starts(model)
    for member, words in (
        (dreaming(grid=(3, 3)), "tokens a latent step 9, not 4"),
        (dreaming().train(), "training mode"),
    ):
        with pytest.raises(ValueError, match=rf"ensemble\[0\].*{words}"):
            ImaginedVectorEnv(model, starts, ensemble=[member])
    other = dreaming()
    for parameter in other.encoder.parameters():
        parameter.data.mul_(-1.3)
    with pytest.raises(ValueError, match=r"has another encoder.*model\.frozen=RUN"):
        ImaginedVectorEnv(model, starts, ensemble=[other])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"num_envs": 0}, "num_envs=0"),
        ({"horizon": 0}, "horizon=0"),
        ({"penalty": -1.0}, "penalty=-1.0"),
        ({"penalty": 1.0}, "pass ensemble"),
        ({"autoreset_mode": "Disabled"}, "SameStep or NextStep"),
    ],
)
def test_settings_out_of_range_are_refused(settings, words):
    model = dreaming()
    with pytest.raises(ValueError, match=words):
        ImaginedVectorEnv(model, some_starts(model), **settings)


def test_a_model_without_reward_or_in_training_mode_is_refused():
    model = dreaming(heads=("termination",))
    with pytest.raises(ValueError, match=r"no reward head.*model\.heads=\[reward,termination\]"):
        ImaginedVectorEnv(model, some_starts(model))
    with pytest.raises(ValueError, match=r"call model\.eval"):
        ImaginedVectorEnv(dreaming().train(), some_starts(model))
    model = dreaming()
    with pytest.raises(ValueError, match="blocks of 2 have 6; the model reads 4"):
        ImaginedVectorEnv(model, some_starts(model, spec=action_spec(gymnasium.spaces.Discrete(3))))
    with pytest.raises(gymnasium.error.ResetNeeded):
        ImaginedVectorEnv(dreaming(), some_starts(model)).step(np.zeros((1, 4)))


def test_gymnasiums_own_wrapper_of_vector_environments_counts_the_episodes():
    env = RecordEpisodeStatistics(ending_env("SameStep", edge=50.0, horizon=3))
    actions = drawn_actions(env, 3)
    _, told = episodes(env, actions)
    total = np.sum([step[0] for step in told], axis=0)
    found = told[-1][3]["final_info" if "episode" in told[-1][3].get("final_info", {}) else "episode"]
    found = found.get("episode", found)
    np.testing.assert_allclose(found["r"], total, rtol=1e-5)
    assert found["l"].tolist() == [3] * 5
