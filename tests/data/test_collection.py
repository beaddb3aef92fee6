"""Collecting: what is written, what a fault costs, going on, the same store whatever the circumstances."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.data import made_envs
from worldjepa.config import CollectionConfig, EnvConfig
from worldjepa.data.collection import (
    CollectionError,
    CollectionResult,
    collect_episodes,
    describe_env,
    task_of,
)
from worldjepa.data.episodes import EpisodeStore
from worldjepa.data.moments import UnusableEnvError
from worldjepa.data.policies import PolicyError
from worldjepa.runlock import RunLock, RunLockedError

MADE = EnvConfig(id="tests.data.made_envs:made/Made-v0", state=["position"], num_envs=1)
BATCHED = EnvConfig(id="tests.data.made_envs:made/Batched-v0", state=["position"], num_envs=3)
STEPS = 4


def collect(
    root: Path, env: EnvConfig, count: int, *, policy: str = "random", seed: int = 0
) -> CollectionResult:
    chosen = CollectionConfig(policy=policy, num_episodes=count)
    return collect_episodes(env, chosen, root=root, size=8, seed=seed, progress=False)


def faulty(fault: str, **kwargs) -> EnvConfig:
    return replace(MADE, kwargs={"fault": fault, **kwargs}, timeout_s=1.5 if fault == "hangs" else 60.0)


def content(root: Path) -> list[str]:
    """Return the hash of every episode."""
    store, hashes = EpisodeStore.open(root), []
    for episode, (steps, seed) in enumerate(zip(store.lengths.tolist(), store.seeds, strict=True)):
        part = store.read(episode, range(steps + 1), 0, steps)
        arrays = [part.frames, part.actions, part.rewards, part.terminated, part.state]
        text = b"".join(array.tobytes() for array in arrays if array is not None)
        hashes.append(hashlib.sha256(text + str(seed).encode()).hexdigest())
    return hashes


def lost(root: Path) -> list[dict]:
    return [json.loads(line) for line in (root / "lost_episodes.jsonl").read_text().splitlines()]


# --- what is written -----------------------------------------------------------------------------


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


# --- what a fault costs --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "kwargs", "step", "reason"),
    [
        ("raises", {}, 2, "step: RuntimeError: the simulator broke"),
        ("raises", {"phase": "reset"}, 0, "reset: RuntimeError: the simulator broke"),
        ("dies", {}, 2, "step: the process ended with exit code 3 (a last word)"),
        ("segfaults", {}, 2, "step: the process died of SIGSEGV"),
        ("hangs", {}, 2, "step: it hung, for longer than env.timeout_s=1.5"),
        ("nan", {"observed": "vector"}, 2, "step: observation holds values that are not finite"),
        ("nan reward", {}, 2, "step: the reward is nan, expected a finite number"),
        ("shape", {}, 2, "step: observation has shape (3, 10, 12), its space says (10, 12, 3)"),
        ("dtype", {}, 2, "step: observation is float32, its space says uint8"),
        (
            "no picture",
            {"observed": "vector"},
            2,
            "step: render() gave None, expected a uint8 picture [y x 3]",
        ),
        ("odd end", {}, 2, "step: terminated is 'yes', expected True or False"),
    ],
)
def test_a_fault_loses_its_episode_only(tmp_path: Path, fault: str, kwargs: dict, step: int, reason: str):
    result = collect(tmp_path, faulty(fault, **kwargs), 4, seed=11)
    seeds = [task_of(11, number).seed for number in range(20)]
    good = [number for number, seed in enumerate(seeds) if seed % 3][:4]
    bad = [number for number in range(good[-1]) if number not in good]
    assert bad, "the test tests something"
    assert EpisodeStore.open(tmp_path).seeds == tuple(seeds[number] for number in good)
    expected = [{"number": n, "seed": seeds[n], "step": step, "reason": reason} for n in bad]
    assert lost(tmp_path) == expected
    assert [each.number for each in result.lost] == bad
    assert EpisodeStore.open(tmp_path).lengths.tolist() == [STEPS] * 4


@pytest.mark.parametrize("fault", ["raises", "dies", "hangs"])
def test_a_construction_that_fails_once_is_tried_again(tmp_path: Path, fault: str):
    env = faulty(fault, phase="construction", once=str(tmp_path / "once"))
    assert collect(tmp_path / "store", env, 2).written == 2


def test_when_everything_fails_it_ends_with_one_error(tmp_path: Path):
    with pytest.raises(
        CollectionError, match="10 episodes in a row were lost, the last one at step 2"
    ) as caught:
        collect(tmp_path, faulty("raises", every=1), 3)
    assert "the simulator broke" in str(caught.value)
    assert len(lost(tmp_path)) >= 10


def test_an_environment_that_cannot_be_reset_is_an_error(tmp_path: Path):
    with pytest.raises(
        UnusableEnvError, match="could not be reset in 10 tries; the last time: reset: Runtime"
    ):
        collect(tmp_path / "a", faulty("raises", every=1, phase="reset"), 3)
    with pytest.raises(UnusableEnvError, match=r"in 2 tries; the last time: reset: it hung"):
        collect(tmp_path / "b", replace(faulty("hangs", every=1, phase="reset"), timeout_s=0.7), 3)


# --- the same store, whatever happens ------------------------------------------------------------


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


# --- as a batch ----------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["random", "smooth", "tests.data.made_envs:from_info"])
def test_a_batch_collects_what_single_environments_do(tmp_path: Path, policy: str):
    collect(tmp_path / "batch", BATCHED, 7, policy=policy)
    collect(tmp_path / "single", MADE, 7, policy=policy)
    assert content(tmp_path / "batch") == content(tmp_path / "single")


def test_our_environments_are_collected_as_a_batch(tmp_path: Path):
    env = EnvConfig(id="worldjepa/Point-v0", state=["position"])
    for num_envs in (1, 5):
        collect(tmp_path / str(num_envs), replace(env, num_envs=num_envs), 7, policy="scripted")
    assert content(tmp_path / "1") == content(tmp_path / "5")
    assert describe_env(env, policy="scripted").batched


def test_a_batch_that_breaks_is_replaced_by_single_environments(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    result = collect(tmp_path / "broken", replace(BATCHED, kwargs={"breaks_at": 6}), 7)
    assert (result.written, result.steps) == (7, 7 * STEPS)
    assert "the batch broke" in caplog.text
    collect(tmp_path / "whole", BATCHED, 7)
    assert content(tmp_path / "broken") == content(tmp_path / "whole")


def test_not_finite_rewards_lose_a_row_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    plain = made_envs.Made.step

    def nan_at_times(self, action):
        result = plain(self, action)
        return (result[0], np.nan if self.seed % 3 == 0 and self.count == 2 else result[1], *result[2:])

    monkeypatch.setattr(made_envs.Made, "step", nan_at_times)
    collect(tmp_path, BATCHED, 4, seed=11)
    assert {each["reason"] for each in lost(tmp_path)} == {"step: reward is not finite"}
    assert all(seed is not None and seed % 3 for seed in EpisodeStore.open(tmp_path).seeds)


# --- what the user has to change -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"id": "CartPol-v1"}, "env.id=CartPol-v1: .*Did you mean: `CartPole`"),
        ({"id": "nowhere/Thing-v0"}, "env.id=nowhere/Thing-v0: Namespace nowhere not found.*env.id=package:"),
        ({"id": "no_such_package:Thing-v0"}, "importing no_such_package failed .ModuleNotFoundError"),
        ({"kwargs": {"space": "dict"}}, "expected Box, Discrete or MultiDiscrete"),
        ({"kwargs": {"spece": "box"}}, "cannot be made: TypeError.*spece"),
        ({"state": ["positoin"]}, "env.state: info has no key 'positoin' after reset; it has position, seed"),
        ({"state": ["name"]}, "holds no numbers under name"),
        ({"pixels": "top"}, "env.pixels=top: no 'top' there; the observation is Box"),
        ({"pixels": "to", "kwargs": {"observed": "dict"}}, "has the keys grip, joints, top, wrist"),
        ({"pixels": "joints", "kwargs": {"observed": "dict"}}, "joints is Box.*there are top, wrist, render"),
        ({"proprioception": ["joint"], "kwargs": {"observed": "dict"}}, "no vector 'joint'.*grip, joints"),
        ({"proprioception": ["x"], "kwargs": {"observed": "vector"}}, r"env.proprioception=\[observation\]"),
    ],
)
def test_a_mistake_is_told_at_once(change: dict, said: str):
    with pytest.raises(ValueError, match=said) as caught:
        describe_env(replace(MADE, **change))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ("scripted", "policy=scripted: Made has no method scripted_actions"),
        (
            "tests.data.made_envs:raising",
            "raising raised ZeroDivisionError: division by zero .*made_envs.py:",
        ),
        ("tests.data.made_envs:too_wide", "too_wide returned array.* expected an action of Box"),
        ("tests.data.made_envs:halv", "has no callable 'halv'; it has .*half"),
        ("no_such_module:act", "importing no_such_module failed"),
    ],
)
def test_a_policy_that_cannot_act_ends_the_collection(tmp_path: Path, policy: str, said: str):
    with pytest.raises((UnusableEnvError, PolicyError), match=said):
        collect(tmp_path, MADE, 1, policy=policy)
