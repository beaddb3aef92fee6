"""Actions to the model's vectors and back, by hand for each kind of space."""

import json

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete, MultiBinary, MultiDiscrete

from worldjepa.data.episodes.action_spec import ActionSpec, action_spec

SPACES = [
    Box(-1, 1, (2,)),
    Box(np.array([[-2.0, 0.0]]), np.array([[2.0, np.inf]]), dtype=np.float64),
    Box(0, 255, (3,), np.uint8),
    Discrete(4),
    Discrete(3, start=-1),
    MultiDiscrete([2, 3]),
    MultiDiscrete(np.array([[2, 2], [3, 4]]), start=np.array([[0, 1], [2, 3]])),
]


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_there_and_back(space):
    spec = action_spec(space)
    space.seed(0)
    actions = np.stack([np.stack([space.sample() for _ in range(5)]) for _ in range(2)])
    vectors = spec.from_env(actions)
    assert vectors.shape == (2, 5, spec.dim)
    assert vectors.dtype == np.float32
    back = spec.to_env(vectors)
    assert back.dtype == space.dtype
    assert back.shape == actions.shape
    np.testing.assert_allclose(back.astype(float), actions.astype(float), rtol=1e-6)
    assert space.contains(back[1, 2] if back.ndim > 2 else back.dtype.type(back[1, 2]))


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_survives_json(space):
    spec = action_spec(space)
    assert ActionSpec.from_dict(json.loads(json.dumps(spec.to_dict(), allow_nan=False))) == spec


def test_one_hots_are_joined():
    spec = action_spec(MultiDiscrete([2, 3], start=[0, 5]))
    assert spec.dim == 5
    np.testing.assert_array_equal(spec.from_env([[1, 5], [0, 7]]), [[0, 1, 1, 0, 0], [1, 0, 0, 0, 1]])
    np.testing.assert_array_equal(spec.to_env([0.2, 0.1, 0.0, 0.3, 0.2]), [0, 6])


def test_what_an_environment_carries_out():
    box = action_spec(Box(-1.0, 2.0, (2,)))
    np.testing.assert_array_equal(box.carried_out([[-3.0, 0.5]]), [[-1.0, 0.5]])
    choices = action_spec(Discrete(3))
    np.testing.assert_array_equal(choices.carried_out([[0.1, 0.9, 0.3]]), [[0.0, 1.0, 0.0]])


def test_values_outside_a_box_are_clipped_on_the_way_to_the_environment():
    spec = action_spec(Box(np.array([-1, 0], np.float32), np.array([1, np.inf], np.float32)))
    np.testing.assert_array_equal(
        spec.to_env([[-3, 4], [0.5, -1]]), np.array([[-1, 4], [0.5, 0]], np.float32)
    )
    np.testing.assert_array_equal(spec.from_env([-3.0, 4.0]), np.array([-3, 4], np.float32))
    whole = action_spec(Box(0, 10, (1,), np.int32))
    np.testing.assert_array_equal(whole.to_env([[2.6], [99.0]]), [[3], [10]])


@pytest.mark.parametrize("space", [MultiBinary(3), gymnasium.spaces.Dict(a=Discrete(2))], ids=str)
def test_other_spaces_are_refused(space):
    with pytest.raises(ValueError, match="expected Box, Discrete or MultiDiscrete"):
        action_spec(space)


def test_actions_that_do_not_belong_are_refused():
    with pytest.raises(ValueError, match=r"last axes are \(2,\), got an array of shape \(5, 3\)"):
        action_spec(Box(-1, 1, (2,))).from_env(np.zeros((5, 3)))
    with pytest.raises(ValueError, match=r"from \[1\] to \[3\], got actions from 0 to 2"):
        action_spec(Discrete(3, start=1)).from_env([0, 2])
    with pytest.raises(ValueError, match="whole numbers"):
        action_spec(Discrete(3)).from_env([0.5])
    with pytest.raises(ValueError, match="last axis is 4"):
        action_spec(Discrete(4)).to_env(np.zeros(3))
    with pytest.raises(ValueError, match="needs 2 values of high, got 1"):
        ActionSpec("box", low=(0.0, 0.0), high=(1.0,), shape=(2,))
    with pytest.raises(ValueError, match="does not describe an action space"):
        ActionSpec.from_dict({"kind": "box"})
