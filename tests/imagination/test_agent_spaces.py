"""Action blocks of every space, to environments and to the model and back."""

import numpy as np
import pytest
import torch
from gymnasium import spaces

from worldjepa.data.episodes.action_spec import action_spec
from worldjepa.imagination.agent_spaces import ActionBlocks, LatentVectors


def f32(values):
    return np.array(values, np.float32)


def test_a_box_becomes_a_flat_box_step_major():
    blocks = ActionBlocks(action_spec(spaces.Box(f32([-1, 0]), f32([1, 5]))), 2)
    assert blocks.space == spaces.Box(f32([-1, 0, -1, 0]), f32([1, 5, 1, 5]))
    taken = blocks.to_env(np.array([[0.5, 4.0, -3.0, 9.0]], np.float32))
    np.testing.assert_array_equal(taken, f32([[[0.5, 4.0], [-1.0, 5.0]]]))
    np.testing.assert_array_equal(blocks.to_model([[0.5, 4.0, -3.0, 9.0]]), [[0.5, 4.0, -1.0, 5.0]])


def test_a_box_of_whole_numbers_is_rounded():
    blocks = ActionBlocks(action_spec(spaces.Box(0, 4, (1,), np.int64)), 2)
    assert blocks.space.dtype == np.float32
    taken = blocks.to_env([[1.6, 7.0]])
    assert taken.dtype == np.int64 and taken.tolist() == [[[2], [4]]]


def test_one_discrete_action_stays_discrete_and_counts_from_zero():
    blocks = ActionBlocks(action_spec(spaces.Discrete(3, start=5)), 1)
    assert blocks.space == spaces.Discrete(3)
    assert blocks.to_env(np.array([0, 2])).tolist() == [[5], [7]]
    assert blocks.to_model(np.array([0, 2])).tolist() == [[1, 0, 0], [0, 0, 1]]
    with pytest.raises(ValueError, match=r"choices are whole numbers, got \[0.9\]"):
        blocks.to_model(np.array([0.9, 2.0]))


def test_a_block_of_discrete_actions_is_multi_discrete():
    blocks = ActionBlocks(action_spec(spaces.Discrete(3)), 2)
    assert blocks.space == spaces.MultiDiscrete([3, 3])
    assert blocks.to_env([[2, 0]]).tolist() == [[2, 0]]
    assert blocks.to_model([[2, 0]]).tolist() == [[0, 0, 1, 1, 0, 0]]
    with pytest.raises(ValueError, match="expected whole numbers"):
        blocks.to_model([[3, 0]])


def test_a_block_of_multi_discrete_actions():
    blocks = ActionBlocks(action_spec(spaces.MultiDiscrete([2, 3], start=[1, 0])), 2)
    assert blocks.space == spaces.MultiDiscrete([2, 3, 2, 3])
    assert blocks.to_env([[1, 2, 0, 1]]).tolist() == [[[2, 2], [1, 1]]]
    assert blocks.to_model([[1, 2, 0, 1]]).tolist() == [[0, 1, 0, 0, 1, 1, 0, 0, 1, 0]]


def test_latents_as_vectors():
    latents = torch.arange(12, dtype=torch.float64).reshape(1, 3, 4)
    flat, pooled = (LatentVectors(3, 4, pooled=pooled) for pooled in (False, True))
    assert (flat.space.shape, pooled.space.shape) == ((12,), (4,))
    assert flat.read(latents).tolist() == [list(range(12))]
    assert pooled.read(latents).tolist() == [[4, 5, 6, 7]]
    assert flat.read(latents).dtype == np.float32
