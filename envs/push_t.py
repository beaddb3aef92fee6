"""PushT of ``gym-pusht`` (arXiv:2303.04137) as pixels, with what tells how near a goal is."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from jaxtyping import Float32, UInt8

from .pushing import Pushing
from .requirements import require

BOARD = 512.0  # pixels, as the physics counts them
REACH = 100.0  # pixels that a relative action of 1 asks for, as in stable-worldmodel's PushT
INSIDE = (15.0, 497.0)  # where the disc may be sent: its radius from the edge


class PushT(gymnasium.Wrapper):
    """Observes ``pixels [y x 3]`` and ``agent_pos [2]``; an action is a place to go to, in [0, 512].

    With ``relative`` it is a way to go, in [-1, 1], of which 1 is 100 pixels. Either is kept on the board.

    ``info`` has what decides in the published evaluation of DINO-WM and LeWM: ``place [4]`` (of the disc and
    of the block, pixels of 512; reached within 20) and ``heading [2]`` (cosine and sine of the block's angle;
    reached within pi/9, a distance of 0.3473); also ``agent_pos``, ``block_pose``, ``goal_pose`` and
    ``success`` (the block covers 95 % of the green goal, which ends an episode). ``scripted_actions`` pushes
    the block about.
    """

    def __init__(self, env: gymnasium.Env, *, image_size: int, relative: bool):
        super().__init__(env)
        self.image_size, self.relative = image_size, relative
        picture = spaces.Box(0, 255, (image_size, image_size, 3), np.uint8)
        place = spaces.Box(0, BOARD, (2,), np.float64)
        self.observation_space = spaces.Dict({"pixels": picture, "agent_pos": place})
        if relative:
            self.action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
        self._pushing = Pushing()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict]:
        """Begin an episode."""
        _, info = self.env.reset(seed=seed, options=options)
        self._pushing = Pushing()
        return self._observation(), self._told(info)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict]:
        """Make a step of a tenth of a second."""
        there = self._agent() + REACH * np.asarray(action) if self.relative else np.asarray(action)
        _, reward, terminated, truncated, info = self.env.step(np.clip(there, *INSIDE))
        return self._observation(), float(reward), bool(terminated), truncated, self._told(info)

    def render(self) -> UInt8[np.ndarray, "y x 3"]:
        """Draw the board; pixels are averaged over what they cover."""
        import pygame

        board = self.env.unwrapped._draw()  # type: ignore[attr-defined]  # render() marks the last action
        small = pygame.transform.smoothscale(board, (self.image_size, self.image_size))
        return np.ascontiguousarray(pygame.surfarray.pixels3d(small).transpose(1, 0, 2))

    def scripted_actions(self, rng: np.random.Generator) -> Float32[np.ndarray, " 2"]:
        """Return the next action of a noisy policy that pushes the block about (``pushing.py``)."""
        block: Any = self.env.unwrapped.block  # type: ignore[attr-defined]
        centre = np.array(block.local_to_world(block.center_of_gravity))
        way = self._pushing.act(rng, self._agent(), centre)
        action = way / REACH if self.relative else np.clip(self._agent() + way, *INSIDE)
        return action.astype(np.float32)

    def _agent(self) -> np.ndarray:
        return np.array(self.env.unwrapped.agent.position)  # type: ignore[attr-defined]

    def _observation(self) -> dict[str, np.ndarray]:
        return {"pixels": self.render(), "agent_pos": self._agent()}

    def _told(self, info: dict[str, Any]) -> dict[str, Any]:
        pose = info["block_pose"]
        return {
            "agent_pos": self._agent(),
            "block_pose": pose,
            "goal_pose": info["goal_pose"],
            "place": np.concatenate([self._agent(), pose[:2]]),
            "heading": np.array([np.cos(pose[2]), np.sin(pose[2])]),
            "success": bool(info["is_success"]),
        }


def push_t(*, image_size: int = 96, relative: bool = False, render_mode: str | None = None) -> gymnasium.Env:
    """Build PushT; ``render_mode`` is rgb_array in any case."""
    require("gym_pusht", "pusht", "worldjepa/PushT-v0")
    env = gymnasium.make(
        "gym_pusht/PushT-v0",
        obs_type="state",  # pictures are drawn here
        render_mode="rgb_array",
        max_episode_steps=-1,  # ours is the one registered with the id
        disable_env_checker=True,
    )
    return PushT(env, image_size=image_size, relative=relative)
