"""The room of a dot: how far it may go, where a wall stops it, and where it can stand.

Lengths are pixels of a 224-pixel image, from its top left corner, x to the right and y down. The figures and
the rule of collision are those of the public TwoRoom task (``envs/two_room/env.py`` of ``stable-worldmodel``
0.1.1). Every other image size scales them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

WIDTH = 224.0


@dataclass(frozen=True)
class Geometry:
    """A square room; ``has_wall`` parts it in two by a vertical wall with one door.

    ``dot`` is both the standard deviation of the drawn Gaussian and the radius that walls stop. ``door_half``
    is half the opening, ``door_margin`` what the dot may miss of it, ``push_back`` how far from the wall a
    stopped dot is set. The border's line lies outside ``border``, ``line`` thick.
    """

    has_wall: bool = True
    border: float = 14.0
    line: float = 4.0
    wall_half: float = 5.0
    door_half: float = 14.0
    door_margin: float = 1.75
    push_back: float = 0.5
    dot: float = 7.0
    success_radius: float = 16.0

    @property
    def low(self) -> float:
        """The least coordinate of the dot's centre."""
        return self.border + self.dot

    @property
    def high(self) -> float:
        """The greatest coordinate of the dot's centre."""
        return WIDTH - self.low

    @property
    def reach(self) -> float:
        """How close the dot's centre may come to the middle of the wall."""
        return self.wall_half + self.dot

    @property
    def door_range(self) -> tuple[float, float]:
        """Where the middle of a door may lie, so that the border does not narrow it."""
        return self.border + self.door_half, WIDTH - self.border - self.door_half

    def move(
        self,
        positions: Float[np.ndarray, "n 2"],
        displacements: Float[np.ndarray, "n 2"],
        walls: Float[np.ndarray, " n"],
        doors: Float[np.ndarray, " n"],
    ) -> Float[np.ndarray, "n 2"]:
        """Return where the dots come to stand.

        As in the public task only the new height decides whether a dot is in the door: one that leaves the
        opening sideways is set beside the wall, on the side that it came from.
        """
        moved = np.minimum(np.maximum(positions + displacements, self.low), self.high)
        if self.has_wall:
            sides = np.where(positions[:, 0] < walls, -1.0, 1.0)
            hit = sides * (moved[:, 0] - walls) < self.reach
            hit &= np.abs(moved[:, 1] - doors) > self.door_half + self.door_margin
            moved[:, 0] = np.where(hit, walls + sides * (self.reach + self.push_back), moved[:, 0])
        return moved

    def free_places(
        self, shares: Float[np.ndarray, "n 2"], walls: Float[np.ndarray, " n"]
    ) -> Float[np.ndarray, "n 2"]:
        """Map the unit square evenly onto where a dot can stand without touching the wall."""
        band = 2 * self.reach if self.has_wall else 0.0
        room = self.high - self.low
        places = self.low + shares * np.array([room - band, room])
        if self.has_wall:
            places[:, 0] += band * (places[:, 0] > walls - self.reach)
        return places

    def across(
        self,
        first: Float[np.ndarray, "n 2"],
        second: Float[np.ndarray, "n 2"],
        walls: Float[np.ndarray, " n"],
    ) -> Bool[np.ndarray, " n"]:
        """Return whether the wall lies between two positions."""
        return self.has_wall & ((first[:, 0] < walls) != (second[:, 0] < walls))
