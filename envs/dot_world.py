"""A batch of dots in their rooms: state, motion, reward, pictures. Single and vector environments share it.

Positions are shares of the image width, kept in float32, so that a recorded position sets exactly the state
that it was read from. Each row has its own generator and no sum runs over rows: a row of a batch is bitwise
the same as that row alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, UInt8

from .distractors import Distractors, add_noise
from .drawing import GREEN, RED, draw_dots, draw_rooms
from .geometry import WIDTH, Geometry
from .scripted import Roaming

WALL, DOOR = 112.0, 49.0  # where they are unless drawn or given, in pixels of 224
WALL_RANGE = (0.3, 0.7)  # of a random wall, in shares of the width
REWARDS = ("success", "distance")
OPTIONS = ("state", "goal", "wall", "door")


@dataclass(frozen=True)
class DotSettings:
    """Everything that distinguishes one environment of dots from another.

    ``speed``: pixels of 224 that an action of 1 moves. ``reward``: ``success`` (1 for a step that ends at the
    goal, else 0) or ``distance`` (minus the distance to the goal, in image widths).
    """

    geometry: Geometry
    image_size: int
    speed: float
    random_wall: bool = False
    random_door: bool = False
    distractors: bool = False
    show_goal: bool = False
    reward: str = "success"
    end_on_success: bool = True

    def __post_init__(self) -> None:
        if self.image_size < 8:
            raise ValueError(f"image_size must be at least 8 pixels, got {self.image_size}")
        if not 0 < self.speed < WIDTH:
            raise ValueError(f"speed is in pixels of {WIDTH:g} a step, above 0, got {self.speed}")
        if self.reward not in REWARDS:
            raise ValueError(f"reward must be one of {', '.join(REWARDS)}, got {self.reward!r}")


class DotWorld:
    """``count`` rows, each a dot in a room of its own with a start and a goal."""

    def __init__(self, settings: DotSettings, count: int):
        self.settings, self.count = settings, count
        self.positions, self.starts, self.goals = np.zeros((3, count, 2), np.float32)
        self.walls, self.doors = np.zeros((2, count), np.float32)
        size = settings.image_size
        self.rooms = np.zeros((count, size, size, 3), np.uint8)
        self.groups = np.full(count, "same_room", dtype=object)
        self.roaming = Roaming(settings.geometry, count)
        self.distractors = Distractors(count, size) if settings.distractors else None

    def begin(
        self,
        rows: Bool[np.ndarray, " count"],
        rngs: Sequence[np.random.Generator],
        options: Mapping[str, Any] | None = None,
    ) -> None:
        """Start a new episode in ``rows``; ``options`` gives any of ``OPTIONS``, in shares of the width."""
        settings, given = self.settings, self._checked(options or {})
        for row in np.flatnonzero(rows).tolist():
            self._draw_episode(row, rngs[row], {name: value[row] for name, value in given.items()})
        self.positions[rows] = self.starts[rows]
        across = settings.geometry.across(self.starts[rows], self.goals[rows], self.walls[rows])
        self.groups[rows] = np.where(across, "across", "same_room")
        self.roaming.due |= rows
        walls, doors = self._rooms(rows)
        rooms = draw_rooms(settings.geometry, walls, doors, settings.image_size)
        if settings.show_goal:
            draw_dots(rooms, _pixels(self.goals[rows]), GREEN, settings.geometry.dot)
        self.rooms[rows] = rooms

    def _checked(self, options: Mapping[str, Any]) -> dict[str, Float32[np.ndarray, "count ..."]]:
        given = {}
        for name in OPTIONS:
            if options.get(name) is None:
                continue
            shape = (self.count, 2) if name in ("state", "goal") else (self.count,)
            value = np.asarray(options[name], np.float32)
            try:
                given[name] = np.broadcast_to(value, shape)
            except ValueError:
                raise ValueError(
                    f"options[{name!r}] must have shape {shape} or {shape[1:]}, got {value.shape}"
                ) from None
            if not np.all((value >= 0) & (value <= 1)):
                raise ValueError(
                    f"options[{name!r}] must be shares of the image width in [0, 1], got {value.tolist()}"
                )
        return given

    def _draw_episode(self, row: int, rng: np.random.Generator, given: Mapping[str, Any]) -> None:
        """Draw wall, door, start and goal of one row; what is given takes the place of what was drawn."""
        settings = self.settings
        wall, door = WALL / WIDTH, DOOR / WIDTH
        if settings.random_wall:
            wall = rng.uniform(*WALL_RANGE)
        if settings.random_door:
            door = rng.uniform(*settings.geometry.door_range) / WIDTH
        self.walls[row], self.doors[row] = given.get("wall", wall), given.get("door", door)
        middle = WIDTH * self.walls[row : row + 1].astype(np.float64)
        place = lambda: settings.geometry.free_places(rng.random((1, 2)), middle)[0] / WIDTH  # noqa: E731
        start = given.get("state", place())
        goal = place()
        while np.hypot(*(goal - start)) * WIDTH <= settings.geometry.success_radius:
            goal = place()
        self.starts[row], self.goals[row] = start, given.get("goal", goal)
        if self.distractors is not None:
            self.distractors.restart(row, rng)

    def move(self, actions: Any) -> None:
        """Move every dot by its action, clipped to [-1, 1]; the background drifts on.

        Raises:
            ValueError: The actions have another shape than ``[count 2]`` or are not finite.
        """
        actions = np.asarray(actions, np.float64)
        if actions.shape != (self.count, 2):
            raise ValueError(f"actions must have shape ({self.count}, 2), got {actions.shape}")
        if not np.isfinite(actions).all():
            raise ValueError(f"actions must be finite numbers in [-1, 1], got {actions.tolist()}")
        steps = np.minimum(np.maximum(actions, -1), 1) * self.settings.speed
        moved = self.settings.geometry.move(_pixels(self.positions), steps, *self._rooms(slice(None)))
        self.positions = (moved / WIDTH).astype(np.float32)
        if self.distractors is not None:
            self.distractors.advance(np.ones(self.count, bool))

    def put(self, positions: Any) -> None:
        """Set the dots down at ``positions`` ``[count 2]``; nothing else changes."""
        self.positions = np.array(self._checked({"state": positions})["state"])

    def distances(self) -> Float[np.ndarray, " count"]:
        """Return how far the dots are from their goals, in image widths."""
        x, y = (self.positions.astype(np.float64) - self.goals).T
        return np.sqrt(x * x + y * y)

    def success(self) -> Bool[np.ndarray, " count"]:
        """Return which dots are at their goals."""
        return self.distances() * WIDTH < self.settings.geometry.success_radius

    def rewards(self) -> Float[np.ndarray, " count"]:
        """Return the reward of having arrived here."""
        if self.settings.reward == "distance":
            return -self.distances()
        return self.success().astype(np.float64)

    def draw(
        self,
        rows: Int[np.ndarray, " n"],
        positions: Float32[np.ndarray, "n 2"],
        rngs: Sequence[np.random.Generator] | None,
    ) -> UInt8[np.ndarray, "n y x 3"]:
        """Draw dots at ``positions`` in the rooms of ``rows``; distractors take their noise from ``rngs``."""
        frames = self.rooms[rows]
        if self.distractors is not None:
            frames = self.distractors.shade(frames, rows)
        draw_dots(frames, _pixels(positions), RED, self.settings.geometry.dot)
        if self.distractors is not None and rngs is not None:
            add_noise(frames, [rngs[row] for row in rows])
        return frames

    def observe(
        self, rows: Int[np.ndarray, " n"], rngs: Sequence[np.random.Generator]
    ) -> UInt8[np.ndarray, "n y x 3"]:
        """Draw ``rows`` as they stand."""
        return self.draw(rows, self.positions[rows], rngs)

    def facts(self) -> dict[str, np.ndarray]:
        """Return what ``info`` tells of every row, as arrays of their own."""
        return {
            "position": self.positions.copy(),
            "start": self.starts.copy(),
            "goal": self.goals.copy(),
            "success": self.success(),
            "wall": self.walls.copy(),
            "door": self.doors.copy(),
            "group": self.groups.copy(),
        }

    def scripted_actions(
        self, rng: np.random.Generator | Sequence[np.random.Generator]
    ) -> Float32[np.ndarray, "count 2"]:
        """Return the next actions of the noisy policy; ``rng`` is one generator, or one a row."""
        rngs = [rng] * self.count if isinstance(rng, np.random.Generator) else list(rng)
        if len(rngs) != self.count:
            raise ValueError(f"expected one generator, or one for each of {self.count} rows, got {len(rngs)}")
        walls, doors = self._rooms(slice(None))
        return self.roaming.act(rngs, _pixels(self.positions), walls, doors, self.settings.speed)

    def _rooms(self, rows: Any) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
        return _pixels(self.walls[rows]), _pixels(self.doors[rows])


def _pixels(shares: Float32[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    return shares.astype(np.float64) * WIDTH
