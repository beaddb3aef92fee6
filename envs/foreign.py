"""Environments of other packages under ids of ours: pixels and the robot's own state as one Dict observation.

Only what needs a wrapper stands here. All else of these packages is made by its own id with the package in
front, such as ``shimmy:dm_control/walker-walk-v0`` or ``gymnasium_robotics:FetchReach-v4``.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import gymnasium
import numpy as np
from gymnasium.wrappers import AddRenderObservation

from .requirements import require


class Told(gymnasium.Wrapper):
    """Adds ``success`` to ``info``, and the vectors of a Dict observation under their own names."""

    def __init__(self, env: gymnasium.Env, *, success_key: str | None = None):
        super().__init__(env)
        self.success_key = success_key

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict]:
        """Begin an episode."""
        observation, info = self.env.reset(seed=seed, options=options)
        return observation, self._told(observation, info, 0.0)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict]:
        """Make one step."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        return observation, reward, terminated, truncated, self._told(observation, info, float(reward))

    def _told(
        self, observation: dict[str, np.ndarray], info: dict[str, Any], reward: float
    ) -> dict[str, Any]:
        vectors = {name: value.copy() for name, value in observation.items() if value.ndim == 1}
        success = reward >= 1 if self.success_key is None else bool(info[self.success_key])
        facts = {name: value for name, value in info.items() if isinstance(value, np.ndarray)}
        return {**facts, **vectors, "success": success}


class Arm(Told):
    """Reacher, telling also ``joints [4]``: cosines and sines of its two angles, the same after a turn."""

    def _told(
        self, observation: dict[str, np.ndarray], info: dict[str, Any], reward: float
    ) -> dict[str, Any]:
        angles = observation["position"]
        joints = np.concatenate([np.cos(angles), np.sin(angles)])
        return {**super()._told(observation, info, reward), "joints": joints}


def reacher(
    *, image_size: int = 64, difficulty: str = "easy", plain: bool = False, render_mode: str | None = None
) -> gymnasium.Env:
    """Build Reacher of the DeepMind Control suite: ``pixels``, ``position``, ``velocity``, ``to_target``.

    The reward is 1 while the finger is at the target, which is success. ``plain`` draws the arm alone: no
    target, which does not matter where goals are pictures of the arm, and neither shadow nor reflection,
    which take most of the time where there is no GPU to draw.
    """
    if difficulty not in ("easy", "hard"):
        raise ValueError(f"difficulty must be easy or hard, got {difficulty!r}")
    if sys.platform == "linux" and not os.environ.get("DISPLAY"):
        os.environ.setdefault("MUJOCO_GL", "egl")  # dm_control reads it when imported
    require("shimmy.dm_control_compatibility", "dm-control", "worldjepa/Reacher-v0")
    env = gymnasium.make(
        f"dm_control/reacher-{difficulty}-v0",
        render_mode="rgb_array" if render_mode is None else render_mode,
        render_kwargs={"height": image_size, "width": image_size, "camera_id": 0},
        disable_env_checker=True,
    )
    if plain:
        _draw_plainly(env)
    return Arm(AddRenderObservation(env, render_only=False))


def _draw_plainly(env: gymnasium.Env) -> None:
    physics = env.unwrapped._env.physics  # type: ignore[attr-defined]  # the compatibility layer offers no way
    physics.model.light_castshadow[:] = False
    physics.model.mat_reflectance[:] = 0.0
    physics.named.model.geom_rgba["target", "a"] = 0.0
