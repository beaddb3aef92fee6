"""What a model should learn to leave out: a coloured pattern that drifts behind the dot, and pixel noise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int, UInt8

CONTRAST = 0.35  # the share of the light that the pattern takes where it is darkest
NOISE = 12  # levels of 255, uniform in both directions
WAVES = (1.0, 3.0)  # periods over the image
DRIFT = (0.05, 0.3)  # radians a step


class Distractors:
    """One plane wave a colour channel and row, each with its own direction, length and speed."""

    def __init__(self, count: int, size: int):
        self.waves = np.zeros((count, 2, 3))  # radians over the image, along x and y
        self.drift = np.zeros((count, 3))
        self.phase = np.zeros((count, 3))
        self.middle = (np.arange(size) + 0.5) / size

    def restart(self, row: int, rng: np.random.Generator) -> None:
        """Draw a new pattern for one row."""
        turn = rng.uniform(0, 2 * np.pi, 3)
        length = 2 * np.pi * rng.uniform(*WAVES, 3)
        self.waves[row] = length * np.cos(turn), length * np.sin(turn)
        self.drift[row] = rng.uniform(*DRIFT, 3)
        self.phase[row] = rng.uniform(0, 2 * np.pi, 3)

    def advance(self, rows: Bool[np.ndarray, " count"]) -> None:
        """Let the patterns of ``rows`` drift by one step."""
        self.phase[rows] += self.drift[rows]

    def shade(
        self, rooms: UInt8[np.ndarray, "n y x 3"], rows: Int[np.ndarray, " n"]
    ) -> UInt8[np.ndarray, "n y x 3"]:
        """Return the rooms with the pattern of their rows on what is light in them."""
        angle = self.middle[:, None] * self.waves[rows][:, :, None, :]  # [n 2 size 3]
        across, down = angle[:, 0] + self.phase[rows][:, None, :], angle[:, 1]
        wave = np.sin(across)[:, None] * np.cos(down)[:, :, None]  # the sine of a sum
        wave += np.cos(across)[:, None] * np.sin(down)[:, :, None]
        return np.rint(rooms * (1 - CONTRAST / 2 * (1 + wave))).astype(np.uint8)


def add_noise(frames: UInt8[np.ndarray, "n y x 3"], rngs: Sequence[np.random.Generator]) -> None:
    """Add pixel noise in place; each frame's comes from its own generator."""
    for frame, rng in zip(frames, rngs, strict=True):
        noise = rng.integers(-NOISE, NOISE + 1, frame.shape, dtype=np.int8)
        frame[...] = np.clip(frame.astype(np.int16) + noise, 0, 255)
