"""Pictures of rooms and dots, a whole batch at once, in numpy.

A pixel of an image of any size stands for a square of the 224-pixel room (``geometry.py``): walls count by
the share of it that they cover, dots by their value at its middle.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float, UInt8

from .geometry import WIDTH, Geometry

RED = np.array([255, 0, 0], np.float32)
GREEN = np.array([0, 255, 0], np.float32)
TAIL = math.sqrt(2 * math.log(510))  # so many standard deviations away a dot changes a pixel by half a level


def draw_rooms(
    geometry: Geometry, walls: Float[np.ndarray, " n"], doors: Float[np.ndarray, " n"], size: int
) -> UInt8[np.ndarray, "n y x 3"]:
    """Draw rooms without dots: black border lines and wall on white."""
    edges = np.arange(size + 1) * (WIDTH / size)

    def cover(low, high):
        """Return the share of each pixel, along one axis, that lies between ``low`` and ``high``."""
        low, high = np.asarray(low)[..., None], np.asarray(high)[..., None]
        inside = np.minimum(high, edges[1:]) - np.maximum(low, edges[:-1])
        return np.maximum(inside, 0.0) * (size / WIDTH)

    start, stop = geometry.border, WIDTH - geometry.border
    lines = cover(start - geometry.line, start) + cover(stop, stop + geometry.line)
    light = np.multiply.outer(1 - lines, 1 - lines)[None].repeat(len(walls), axis=0)
    if geometry.has_wall:
        wall = cover(walls - geometry.wall_half, walls + geometry.wall_half)
        closed = 1 - cover(doors - geometry.door_half, doors + geometry.door_half)
        light *= 1 - wall[:, None, :] * closed[:, :, None]
    return np.rint(255 * light).astype(np.uint8)[..., None].repeat(3, axis=-1)


def draw_dots(
    frames: UInt8[np.ndarray, "n y x 3"],
    positions: Float[np.ndarray, "n 2"],
    colour: Float[np.ndarray, " 3"],
    deviation: float,
) -> None:
    """Blend a Gaussian dot into each frame, in place; only the pixels that it can change are read."""
    size = frames.shape[1]
    pitch = WIDTH / size
    side = min(size, math.ceil(2 * TAIL * deviation / pitch) + 2)
    first = np.minimum(np.maximum(np.rint(positions / pitch - side / 2), 0), size - side).astype(np.intp)
    away = (first[:, :, None] + (np.arange(side) + 0.5)) * pitch - positions[:, :, None]
    weight = np.exp(away * away * (-0.5 / deviation**2)).astype(np.float32)
    alpha = weight[:, 1, :, None] * weight[:, 0].repeat(3, axis=1)[:, None, :]
    windows = _windows(frames, side)
    where = np.arange(len(frames)), first[:, 1], first[:, 0]
    patch = windows[where].astype(np.float32)
    patch += (np.tile(colour, side) - patch) * alpha
    patch += 0.5  # so that cutting rounds
    windows[where] = patch.astype(np.uint8)


def _windows(frames: UInt8[np.ndarray, "n y x 3"], side: int) -> UInt8[np.ndarray, "n v u side bytes"]:
    """Return a view: the ``side`` x ``3 side`` bytes of the square that begins at each row and column."""
    assert frames.flags.c_contiguous
    count, size = frames.shape[:2]
    image, row, pixel, byte = frames.strides
    shape = (count, size - side + 1, size - side + 1, side, 3 * side)
    return np.ndarray(shape, np.uint8, frames, 0, (image, row, pixel, row, byte))
