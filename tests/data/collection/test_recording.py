"""What is recorded: pictures made one size, values that are not finite found."""

import numpy as np
import pytest
from gymnasium import spaces

from worldjepa.data.collection.moments import EnvFault, Moment
from worldjepa.data.collection.recording import Recorder, picture_sources, resized, unsound_rows
from worldjepa.settings.env import EnvConfig


def test_pictures_are_made_smaller_with_antialiasing():
    """Against a slow reference: each pixel is a mean weighted by a triangle twice its width."""
    picture = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
    expected = np.zeros((4, 4, 3))
    for y in range(4):
        for x in range(4):
            rows = np.maximum(0, 1 - np.abs((np.arange(12) + 0.5) / 3 - (y + 0.5)))
            columns = np.maximum(0, 1 - np.abs((np.arange(16) + 0.5) / 4 - (x + 0.5)))
            weights = np.multiply.outer(rows, columns)
            expected[y, x] = (picture * weights[..., None]).sum((0, 1)) / weights.sum()
    np.testing.assert_allclose(resized(picture, 4), expected, atol=1.1)
    batch = resized(np.stack([picture, 255 - picture]), 4)
    np.testing.assert_array_equal(batch[0], resized(picture, 4))
    assert resized(picture[:4, :4], 4) is not None


def test_pictures_come_from_the_observation_if_it_is_one():
    image, vector = spaces.Box(0, 255, (8, 8, 3), np.uint8), spaces.Box(-1, 1, (3,))
    for space, source in [
        (image, "observation"),
        (spaces.Box(0, 255, (8, 8), np.uint8), "observation"),
        (spaces.Box(0, 255, (3, 8, 8), np.uint8), "render"),
        (spaces.Box(0, 1, (8, 8, 3), np.float32), "render"),
        (vector, "render"),
        (spaces.Dict({"top": image}), "render"),
    ]:
        assert picture_sources(EnvConfig(), space) == (source,), space
    assert picture_sources(EnvConfig(pixels="render"), image) == ("render",)
    assert picture_sources(EnvConfig(pixels="top, render"), spaces.Dict({"top": image})) == ("top", "render")


def test_grey_pictures_get_three_channels():
    recorder = Recorder(EnvConfig(), 8, spaces.Box(0, 255, (8, 8, 1), np.uint8), lambda: None)
    grey = np.random.default_rng(0).integers(0, 256, (8, 8, 1), np.uint8)
    frame = recorder.take(grey, {}).frames["pixels"]
    np.testing.assert_array_equal(frame, np.concatenate([grey] * 3, axis=-1))


def test_a_picture_that_changes_its_size_is_a_fault():
    shapes = iter([(8, 8, 3), (9, 8, 3)])
    recorder = Recorder(EnvConfig(), 4, spaces.Discrete(2), lambda: np.zeros(next(shapes), np.uint8))
    recorder.take(0, {})
    with pytest.raises(EnvFault, match=r"gave uint8 \(9, 8, 3\), at first \(8, 8, 3\)"):
        recorder.take(0, {})


def test_rows_that_are_not_finite_are_found():
    state = np.array([[0, 1], [np.inf, 1], [0, 0]], np.float32)
    moment = Moment({}, None, state)
    assert unsound_rows(moment, np.array([0.0, 0.0, np.nan])) == {
        1: "state is not finite",
        2: "reward is not finite",
    }
