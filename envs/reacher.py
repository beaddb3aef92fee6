"""Reacher of the DeepMind Control suite: pixels and the arm's own state as one Dict observation."""

from __future__ import annotations

import os
import sys
from typing import Any

import gymnasium
import numpy as np
from gymnasium.wrappers import AddRenderObservation

from .requirements import require


class Reacher(gymnasium.Wrapper):
    """Tells in ``info`` what is observed beside the pixels, ``joints [4]`` and ``success``.

    ``joints`` are the cosines and sines of the arm's two angles (the same after a whole turn); ``success``:
    the finger is at the target, for which the reward is 1.
    """

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict]:
        """Begin an episode."""
        observation, _ = self.env.reset(seed=seed, options=options)
        return observation, _told(observation, 0.0)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict]:
        """Make one step."""
        observation, reward, terminated, truncated, _ = self.env.step(action)
        return observation, reward, terminated, truncated, _told(observation, float(reward))


def _told(observation: dict[str, np.ndarray], reward: float) -> dict[str, Any]:
    vectors = {name: value.copy() for name, value in observation.items() if value.ndim == 1}
    angles = observation["position"]
    joints = np.concatenate([np.cos(angles), np.sin(angles)])
    return {**vectors, "joints": joints, "success": reward >= 1}


def reacher(
    *, image_size: int = 64, difficulty: str = "easy", plain: bool = False, render_mode: str | None = None
) -> gymnasium.Env:
    """Build Reacher, which observes ``pixels``, ``position``, ``velocity`` and ``to_target``.

    ``plain`` draws the arm alone: no target, which does not matter where goals are pictures of the arm, and
    neither shadow nor reflection, which take most of the time where there is no GPU to draw.
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
    return Reacher(AddRenderObservation(env, render_only=False))


def _draw_plainly(env: gymnasium.Env) -> None:
    physics = env.unwrapped._env.physics  # type: ignore[attr-defined]  # the compatibility layer offers no way
    physics.model.light_castshadow[:] = False
    physics.model.mat_reflectance[:] = 0.0
    physics.named.model.geom_rgba["target", "a"] = 0.0
