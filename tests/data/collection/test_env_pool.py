"""Environments in processes: a fault costs one episode, a mistake of the user's is told at once."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.data.collecting import MADE, collect, faulty, lost
from tests.data.made_envs import STEPS
from worldjepa.data.collection.collect import CollectionError, describe_env, task_of
from worldjepa.data.collection.moments import UnusableEnvError
from worldjepa.data.collection.policies import PolicyError
from worldjepa.data.episodes.store import EpisodeStore

# --- what a fault costs ---------------------------------------------------------------------------


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
        collect(tmp_path / "b", replace(faulty("hangs", every=1, phase="reset"), timeout_s=2.0), 3)


# --- what the user has to change ------------------------------------------------------------------
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
