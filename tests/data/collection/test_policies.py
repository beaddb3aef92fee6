"""Policies: seeded by episode, smooth by the stated correlation, a user's own checked."""

import math

import numpy as np
import pytest
from gymnasium import spaces

from worldjepa.data.collection.policies import CORRELATION, PolicyError, checked_action, find_policy

PLAIN = spaces.Box(-1.0, 3.0, (2,), np.float32)


def run(name: str, space: spaces.Space, steps: int, seed: int = 0) -> np.ndarray:
    act = find_policy(name)(space, np.random.default_rng(seed), None)
    return np.array([act(None, {}) for _ in range(steps)])


@pytest.mark.parametrize("name", ["random", "smooth"])
@pytest.mark.parametrize(
    "space",
    [
        PLAIN,
        spaces.Box(-np.inf, np.inf, (3,), np.float64),
        spaces.Box(np.array([-np.inf, 2.0]), np.array([1.0, np.inf]), dtype=np.float64),
        spaces.Box(0, 5, (2, 2), np.int64),
        spaces.Discrete(4, start=2),
        spaces.MultiDiscrete([2, 3]),
    ],
)
def test_actions_lie_in_the_space_and_follow_from_the_seed(name: str, space: spaces.Space):
    act = find_policy(name)(space, np.random.default_rng(1), None)
    for _ in range(50):
        assert space.contains(act(None, {}))
    np.testing.assert_array_equal(run(name, space, 20, seed=3), run(name, space, 20, seed=3))
    assert (run(name, space, 20, seed=3) != run(name, space, 20, seed=4)).any()


def test_smooth_values_are_spread_evenly_and_correlated_in_time():
    values = run("smooth", PLAIN, 8000)
    for axis in range(2):
        shares = np.histogram(values[:, axis], bins=8, range=(-1, 3))[0] / len(values)
        np.testing.assert_allclose(shares, 1 / 8, atol=0.04)
    normal = run("smooth", spaces.Box(-np.inf, np.inf, (1,), np.float64), 8000)[:, 0]
    for lag in (1, 10):
        measured = np.corrcoef(normal[:-lag], normal[lag:])[0, 1]
        assert abs(measured - CORRELATION**lag) < 0.06
    assert math.isclose(CORRELATION**10, 1 / math.e)


def test_smooth_choices_are_kept():
    choices = run("smooth", spaces.Discrete(5), 8000)
    changed = (choices[1:] != choices[:-1]).mean()
    assert abs(changed - (1 - CORRELATION) * 4 / 5) < 0.015
    np.testing.assert_allclose(np.bincount(choices) / len(choices), 0.2, atol=0.05)


def test_an_object_of_a_class_acts_in_one_episode():
    begin = find_policy("tests.data.made_envs:Counting")
    for _ in range(2):
        act = begin(PLAIN, np.random.default_rng(0), None)
        assert [act(None, {})[0] for _ in range(2)] == [np.float32(0.1), np.float32(0.2)]


def test_actions_of_a_users_policy_are_made_to_fit():
    assert checked_action([5, -0.5], PLAIN, "mine").tolist() == [3.0, -0.5]
    assert checked_action([5, -0.5], PLAIN, "mine").dtype == np.float32
    choice = checked_action(np.array(3), spaces.Discrete(4), "mine")
    assert (choice, type(choice)) == (3, np.int64)


@pytest.mark.parametrize(
    ("action", "space"),
    [
        ([1.0], PLAIN),
        ([np.nan, 0.0], PLAIN),
        (None, PLAIN),
        ("left", spaces.Discrete(2)),
        (2, spaces.Discrete(2)),
        (0.5, spaces.Discrete(2)),
        ([0, 3], spaces.MultiDiscrete([2, 3])),
    ],
)
def test_actions_that_do_not_fit_are_refused(action: object, space: spaces.Space):
    with pytest.raises(PolicyError, match=r"policy=mine returned .* expected an action of"):
        checked_action(action, space, "mine")
