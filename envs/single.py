"""One dot as a ``gymnasium.Env``: a ``DotWorld`` of one row."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from jaxtyping import Float, Float32, UInt8

from .dot_world import DotSettings, DotWorld

ROW = np.zeros(1, np.intp)


def observation_space(settings: DotSettings) -> spaces.Box:
    """Return the space of one picture."""
    return spaces.Box(0, 255, (settings.image_size, settings.image_size, 3), np.uint8)


def action_space() -> spaces.Box:
    """Return the space of one action: how far to go to the right and down, in units of the speed."""
    return spaces.Box(-1.0, 1.0, (2,), np.float32)


class DotEnv(gymnasium.Env):
    """Pixels as observation; ``info`` holds what ``DotWorld.facts`` names, after a reset also ``goal_frame``.

    ``reset(options={"state": ..., "goal": ..., "wall": ..., "door": ...})`` takes what ``info`` gave as
    ``position``, ``goal``, ``wall`` and ``door``, and draws what is left out.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012 (Gymnasium's own form)

    def __init__(self, settings: DotSettings, render_mode: str | None = None):
        self.settings, self.render_mode = settings, render_mode
        self.observation_space, self.action_space = observation_space(settings), action_space()
        self._world = DotWorld(settings, 1)
        self._frame = np.zeros(self.observation_space.shape, np.uint8)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin an episode."""
        super().reset(seed=seed)
        self._world.begin(np.ones(1, bool), [self.np_random], options)
        self._frame = self._world.observe(ROW, [self.np_random])[0]
        goal_frame = self._world.draw(ROW, self._world.goals, [self.np_random])[0]
        return self._frame, {**self._facts(), "goal_frame": goal_frame}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Move the dot."""
        self._world.move(np.asarray(action)[None])
        self._frame = self._world.observe(ROW, [self.np_random])[0]
        facts = self._facts()
        ended = facts["success"] and self.settings.end_on_success
        return self._frame, float(self._world.rewards()[0]), ended, False, facts

    def render(self) -> np.ndarray | None:
        """Return the last observation, if the environment was made with ``render_mode="rgb_array"``."""
        return None if self.render_mode is None else self._frame.copy()

    def set_state(self, position: Float[np.ndarray, " 2"]) -> UInt8[np.ndarray, "y x 3"]:
        """Set the dot down at ``position`` (shares of the width), keep all else; return the observation."""
        self._world.put(position)
        self._frame = self._world.observe(ROW, [self.np_random])[0]
        return self._frame

    def render_positions(self, positions: Float[np.ndarray, "n 2"]) -> UInt8[np.ndarray, "n y x 3"]:
        """Draw the dot at each of ``positions`` in the present room, without noise."""
        return self._world.draw(np.zeros(len(positions), np.intp), positions.astype(np.float32), None)

    def scripted_actions(self, rng: np.random.Generator) -> Float32[np.ndarray, " 2"]:
        """Return the next action of the noisy policy that roams the room (``scripted.py``)."""
        return self._world.scripted_actions(rng)[0]

    def _facts(self) -> dict[str, Any]:
        facts = {name: value[0] for name, value in self._world.facts().items()}
        return {**facts, "success": bool(facts["success"])}
