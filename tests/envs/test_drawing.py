"""Pictures against a slow reference, pixel by pixel."""

import math

import numpy as np
import pytest

from worldjepa.envs.drawing import GREEN, RED, draw_dots, draw_rooms
from worldjepa.envs.geometry import Geometry


def slow_dot(
    frame: np.ndarray, position: tuple[float, float], colour: list[int], deviation: float
) -> np.ndarray:
    frame, size = frame.astype(int), len(frame)
    out = frame.copy()
    for row in range(size):
        for column in range(size):
            y, x = ((k + 0.5) * 224 / size for k in (row, column))
            alpha = math.exp(-((x - position[0]) ** 2 + (y - position[1]) ** 2) / (2 * deviation**2))
            for channel in range(3):
                value = frame[row, column, channel]
                out[row, column, channel] = math.floor(value + (colour[channel] - value) * alpha + 0.5)
    return out


@pytest.mark.parametrize("size", [8, 21, 64])
def test_dots_equal_the_slow_reference(size):
    rng = np.random.default_rng(size)
    frames = rng.integers(0, 256, (4, size, size, 3), dtype=np.uint8)
    positions = np.array([[0.0, 224.0], [112.0, 49.0], [203.0, 21.0], [60.3, 170.9]])
    for colour in (RED, GREEN):
        drawn = frames.copy()
        draw_dots(drawn, positions, colour, 7.0)
        for row in range(4):
            expected = slow_dot(frames[row], tuple(positions[row]), colour.astype(int).tolist(), 7.0)
            assert np.abs(drawn[row].astype(int) - expected).max() <= 1  # float32 may round a half otherwise
            assert (drawn[row] != expected).mean() < 1e-3


def test_a_room_at_224_pixels_has_the_walls_of_the_public_task():
    (room,) = draw_rooms(Geometry(), np.array([112.0]), np.array([49.0]), 224)
    black = np.zeros((224, 224), bool)
    black[:, 107:117] = True
    black[35:63, 107:117] = False  # the door: 49 +- 14
    for line in (slice(10, 14), slice(210, 214)):
        black[line] = black[:, line] = True
    np.testing.assert_array_equal(room, np.where(black, 0, 255)[..., None].repeat(3, -1))


def test_a_smaller_room_is_the_mean_of_its_pixels():
    walls, doors = np.array([112.0, 90.0]), np.array([49.0, 120.0])
    large = draw_rooms(Geometry(), walls, doors, 224).astype(float)
    small = draw_rooms(Geometry(), walls, doors, 56)
    mean = large.reshape(2, 56, 4, 56, 4, 3).mean(axis=(2, 4))
    assert np.abs(small - mean).max() <= 0.5


def test_the_centre_of_what_is_red_is_the_position():
    frames = np.full((3, 64, 64, 3), 255, np.uint8)
    positions = np.array([[50.0, 70.0], [112.7, 100.2], [180.0, 31.5]])
    draw_dots(frames, positions, RED, 7.0)
    weight = 255.0 - frames[..., 1]
    middle = (np.arange(64) + 0.5) * 3.5
    x = (weight.sum(axis=1) * middle).sum(-1) / weight.sum(axis=(1, 2))
    y = (weight.sum(axis=2) * middle).sum(-1) / weight.sum(axis=(1, 2))
    np.testing.assert_allclose(np.stack([x, y], -1), positions, atol=0.05)
