"""Collecting: what is written, going on, the same store whatever the circumstances."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.data.collecting import BATCHED, MADE, collect, content, faulty, lost
from tests.data.made_envs import STEPS
from worldjepa.data.collection.collect import collect_episodes, describe_env, task_of
from worldjepa.data.episodes.store import EpisodeStore
from worldjepa.runlock import RunLock, RunLockedError
from worldjepa.settings.env import CollectionConfig

# --- what is written ------------------------------------------------------------------------------


def test_an_episode_holds_what_happened(tmp_path: Path):
    result = collect(tmp_path, MADE, 3)
    assert (result.written, result.total, result.steps, result.lost) == (3, 3, 3 * STEPS, ())
    assert (result.mean_return, result.success_share) == (0.5 + 1 + 1.5 + 2, 1.0)
    store = EpisodeStore.open(tmp_path)
    assert store.seeds == tuple(task_of(0, number).seed for number in range(3))
    assert store.spec.state_names == ("position.0", "position.1")
    assert (store.spec.fps, store.spec.frame_size) == (5.0, (8, 8))
    part = store.read(1, range(STEPS + 1), 0, STEPS)
    assert part.frames[:, 0, 0, 0].tolist() == [0, 10, 20, 30, 40], "the last frame is the final one"
    assert part.rewards.tolist() == [0.5, 1.0, 1.5, 2.0]
    assert part.terminated.tolist() == [False, False, False, True]
    assert part.state is not None
    start = np.random.Generator(np.random.PCG64(np.random.SeedSequence(task_of(0, 1).seed))).random(2)
    np.testing.assert_allclose(part.state[0], start, rtol=1e-6)
    np.testing.assert_allclose(np.diff(part.state, axis=0), part.actions, atol=1e-6)
    assert np.abs(part.actions).max() <= 1
    assert len(np.unique(part.actions)) == 2 * STEPS


def test_an_episode_without_an_end_is_cut_off(tmp_path: Path):
    collect(tmp_path, replace(MADE, max_episode_steps=2), 2)
    store = EpisodeStore.open(tmp_path)
    assert store.lengths.tolist() == [2, 2]
    assert not store.read(0, [], 0, 2).terminated.any()


@pytest.mark.parametrize(("space", "dim"), [("discrete", 3), ("multi_discrete", 5)])
def test_choices_are_recorded_as_one_hots(tmp_path: Path, space: str, dim: int):
    collect(tmp_path, replace(MADE, kwargs={"space": space}), 1, policy="smooth")
    actions = EpisodeStore.open(tmp_path).read(0, [], 0, STEPS).actions
    assert actions.shape == (STEPS, dim)
    assert actions.sum(axis=1).tolist() == [1.0 if space == "discrete" else 2.0] * STEPS


def test_cameras_and_proprioception_come_from_a_dictionary(tmp_path: Path):
    env = replace(
        MADE, kwargs={"observed": "dict"}, pixels="wrist, render", proprioception=["joints", "grip"]
    )
    collect(tmp_path, env, 1)
    store = EpisodeStore.open(tmp_path)
    assert (store.spec.cameras, store.spec.proprioception_dim) == (("wrist", "render"), 3)
    assert store.read(0, [2], 0, 1, "wrist").frames[0, 0, 0, 0] == 21
    assert store.read(0, [2], 0, 1, "render").frames[0, 0, 0, 0] == 20
    part = store.read(0, [], 0, STEPS)
    assert part.proprioception is not None
    assert part.state is not None
    np.testing.assert_array_equal(part.proprioception[:, :2], part.state)
    assert part.proprioception[:, 2].tolist() == [0, 1, 0, 1, 0]


def test_describing_an_environment_says_what_a_model_needs():
    env = replace(MADE, kwargs={"observed": "vector"}, proprioception=["observation"])
    facts = describe_env(env)
    assert (facts.action.dim, facts.proprioception_dim, facts.cameras) == (2, 2, ("pixels",))
    assert (facts.max_episode_steps, facts.batched, facts.fps) == (1000, False, 5.0)
    assert describe_env(BATCHED).batched


# --- the same store, whatever happens -------------------------------------------------------------
def test_the_store_does_not_depend_on_how_it_was_collected(tmp_path: Path):
    env = faulty("raises")
    collect(tmp_path / "at_once", replace(env, num_envs=3), 6, seed=11)
    for count in (1, 3, 6):
        collect(tmp_path / "in_parts", replace(env, num_envs=1), count, seed=11)
    assert content(tmp_path / "in_parts") == content(tmp_path / "at_once")
    assert lost(tmp_path / "in_parts") == lost(tmp_path / "at_once")
    again = collect(tmp_path / "in_parts", env, 5, seed=11)
    assert (again.written, again.total, again.finished) == (0, 6, True)
    assert "nothing to do" in again.line()
    collect(tmp_path / "other", env, 1, seed=1)
    assert content(tmp_path / "other")[0] not in content(tmp_path / "at_once")


def test_stopping_keeps_whole_episodes(tmp_path: Path):
    asked = []
    chosen = CollectionConfig(num_episodes=50)
    result = collect_episodes(
        BATCHED,
        chosen,
        root=tmp_path,
        size=8,
        seed=0,
        progress=False,
        stop=lambda: asked.append(1) or len(asked) > 12,
    )
    assert not result.finished
    assert result.written == result.total == len(EpisodeStore.open(tmp_path).lengths)
    assert 0 < result.total < 50
    assert "stopped early" in result.line()
    collect(tmp_path, BATCHED, 9)
    collect(tmp_path / "whole", BATCHED, 9)
    assert content(tmp_path) == content(tmp_path / "whole")


def test_a_line_torn_by_a_crash_is_collected_again(tmp_path: Path):
    env = faulty("raises")
    collect(tmp_path, env, 2, seed=11)
    before = lost(tmp_path)
    assert before
    with (tmp_path / "lost_episodes.jsonl").open("a") as file:
        file.write('{"number": 7, "se')
    collect(tmp_path, env, 5, seed=11)
    assert [each["number"] for each in lost(tmp_path)] == [1, 5]


def test_a_collection_that_lacks_something_is_refused(tmp_path: Path):
    env = faulty("raises")
    collect(tmp_path, env, 2, seed=11)
    (tmp_path / "lost_episodes.jsonl").unlink()
    with pytest.raises(ValueError, match=r"the 2 episodes there and the 0 in lost_episodes.jsonl are not"):
        collect(tmp_path, env, 3, seed=11)


def test_other_settings_are_refused_by_name(tmp_path: Path):
    collect(tmp_path, MADE, 1)
    with pytest.raises(
        ValueError, match=r"other settings: seed, policy, env\.kwargs\.observed\. Give the same"
    ):
        collect(tmp_path, replace(MADE, kwargs={"observed": "dict"}), 2, policy="smooth", seed=3)
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "a.mp4").touch()
    with pytest.raises(ValueError, match=r"holds other things \(a\.mp4\); choose an empty folder"):
        collect(tmp_path / "videos", MADE, 1)
    with RunLock(tmp_path), pytest.raises(RunLockedError, match=r"another folder with data\.root="):
        collect(tmp_path, MADE, 2)
