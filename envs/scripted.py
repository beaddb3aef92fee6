"""A noisy policy that roams the whole room and often crosses the door."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Float32

from .geometry import Geometry

NOISE = 0.5  # standard deviation of what is added to an action
CHANGE = 0.02  # how probable a new waypoint is at any step
NEAR = 8.0  # pixels from a waypoint that count as there
PULL = (0.3, 1.4)  # how firmly a waypoint is headed for, by leg
PUSHING = 0.3  # share of legs that hold one action, into walls and corners too: planners try just that, and
# a model that never saw it imagines that the dot gets through
PUSH = 2.0  # held actions are drawn between -PUSH and PUSH and cut: half of them are at a bound


class Roaming:
    """Where each row is heading, or what it holds on to; a new leg begins where one is done or lost."""

    def __init__(self, geometry: Geometry, count: int):
        self.geometry = geometry
        self.waypoints = np.zeros((count, 2))
        self.pull = np.zeros(count)
        self.pushing = np.zeros(count, bool)
        self.held = np.zeros((count, 2))
        self.due = np.ones(count, bool)

    def act(
        self,
        rngs: Sequence[np.random.Generator],
        positions: Float[np.ndarray, "n 2"],
        walls: Float[np.ndarray, " n"],
        doors: Float[np.ndarray, " n"],
        speed: float,
    ) -> Float32[np.ndarray, "n 2"]:
        """Return actions in [-1, 1]; every row takes the same number of draws from its generator."""
        draws = np.stack([rng.random(5) for rng in rngs])
        noise = np.stack([rng.standard_normal(2) for rng in rngs])
        there = ~self.pushing & (np.hypot(*(self.waypoints - positions).T) < NEAR)
        self._renew(self.due | there | (draws[:, 0] < CHANGE), draws[:, 1:], walls)
        ahead = heading(self.geometry, positions, self.waypoints, walls, doors) - positions
        ahead /= np.maximum(np.hypot(*ahead.T), speed)[:, None]
        way = np.where(self.pushing[:, None], self.held, self.pull[:, None] * ahead)
        return np.clip(way + NOISE * noise, -1, 1).astype(np.float32)

    def _renew(
        self,
        rows: Bool[np.ndarray, " n"],
        draws: Float[np.ndarray, "n 4"],
        walls: Float[np.ndarray, " n"],
    ) -> None:
        self.waypoints[rows] = self.geometry.free_places(draws[:, :2], walls)[rows]
        self.held[rows] = PUSH * (2 * draws[rows, :2] - 1)
        self.pull[rows] = (PULL[0] + (PULL[1] - PULL[0]) * draws[:, 2])[rows]
        self.pushing[rows] = draws[rows, 3] < PUSHING
        self.due[:] = False


def heading(
    geometry: Geometry,
    positions: Float[np.ndarray, "n 2"],
    targets: Float[np.ndarray, "n 2"],
    walls: Float[np.ndarray, " n"],
    doors: Float[np.ndarray, " n"],
) -> Float[np.ndarray, "n 2"]:
    """Return the point to go straight to: the target, or first the door's near side, then its far side."""
    if not geometry.has_wall:
        return targets.copy()
    side = np.where(positions[:, 0] < walls, -1.0, 1.0)
    beyond = np.where(targets[:, 0] < walls, -1.0, 1.0)
    inside = np.abs(positions[:, 0] - walls) < geometry.reach
    aligned = np.abs(positions[:, 1] - doors) < geometry.door_half / 2
    across = side != beyond
    through = inside | (across & aligned)
    near = np.stack([walls + side * (geometry.reach + 1), doors], axis=1)
    far = np.stack([walls + beyond * (geometry.reach + 6), doors], axis=1)
    return np.where(through[:, None], far, np.where(across[:, None], near, targets))
