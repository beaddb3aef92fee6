"""Many dots as one ``gymnasium.vector.VectorEnv`` that moves and draws the whole batch at once.

Observations, rewards and ``info`` equal those of ``SyncVectorEnv`` over single environments with the same
seeds, bit by bit, in every autoreset mode.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from jaxtyping import Bool, Float, Float32, UInt8

from .dot_world import DotSettings, DotWorld
from .single import DotEnv, action_space, observation_space


class DotVectorEnv(VectorEnv):
    """``num_envs`` dots. ``autoreset_mode``: ``SameStep`` (the default), ``Disabled`` or ``NextStep``.

    Where it is disabled, ``reset(options={"reset_mask": mask})`` begins the episodes of some rows anew. Other
    options are those of ``DotEnv``, each for all rows or one a row.
    """

    def __init__(
        self,
        settings: DotSettings,
        num_envs: int,
        *,
        max_episode_steps: int | None = None,
        render_mode: str | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.SAME_STEP,
    ):
        if num_envs < 1:
            raise ValueError(f"num_envs must be at least 1, got {num_envs}")
        if render_mode not in (None, *DotEnv.metadata["render_modes"]):
            raise ValueError(f"render_mode must be rgb_array or None, got {render_mode!r}")
        self.num_envs, self.settings, self.render_mode = num_envs, settings, render_mode
        self.max_episode_steps, self.mode = max_episode_steps, AutoresetMode(autoreset_mode)
        self.metadata = {**DotEnv.metadata, "autoreset_mode": self.mode}
        self.single_observation_space = observation_space(settings)
        self.single_action_space = action_space()
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._world = DotWorld(settings, num_envs)
        self._rngs: list[np.random.Generator] = [seeding.np_random()[0] for _ in range(num_envs)]
        self._all = np.ones(num_envs, bool)
        self._rows = np.arange(num_envs)
        self._elapsed = np.zeros(num_envs, np.int64)
        self._ended = np.zeros(num_envs, bool)
        self._frames = np.zeros(self.observation_space.shape or (), np.uint8)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin the episodes of all rows, or of those of ``options["reset_mask"]``.

        Row i has the seed ``seed + i``, or the ith of a list.

        Raises:
            ValueError: A mask or a list of seeds of another length than ``num_envs``, or no row to reset.
        """
        options = dict(options or {})
        rows = self._mask(options.pop("reset_mask", self._all))
        seeds = [seed + i for i in range(self.num_envs)] if isinstance(seed, int) else seed
        if seeds is not None and len(seeds) != self.num_envs:
            raise ValueError(f"expected one seed for each of {self.num_envs} environments, got {len(seeds)}")
        for row in np.flatnonzero(rows).tolist():
            if seeds is not None and seeds[row] is not None:
                self._rngs[row] = seeding.np_random(seeds[row])[0]
        frames = self._frames.copy()
        goal_frames = self._begin(rows, frames, options)
        self._frames = frames
        facts = {**self._world.facts(), "goal_frame": goal_frames}
        return frames, pack(facts, rows)

    def step(
        self, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Move every dot, and begin anew where the autoreset mode asks for it."""
        fresh = self._ended.copy() if self.mode is AutoresetMode.NEXT_STEP else ~self._all
        if self.mode is AutoresetMode.DISABLED and self._ended.any():
            raise ValueError(
                f"the episodes of rows {np.flatnonzero(self._ended).tolist()} have ended; begin new ones "
                "with reset(options={'reset_mask': <bool array>}) before the next step"
            )
        self._world.move(actions)
        self._elapsed += 1
        success = self._world.success()
        rewards = self._world.rewards()
        terminated = success & self.settings.end_on_success & ~fresh
        truncated = np.zeros(self.num_envs, bool)
        if self.max_episode_steps is not None:
            truncated = (self._elapsed >= self.max_episode_steps) & ~fresh
        ended = terminated | truncated
        infos: dict[str, Any] = {}
        if fresh.any():
            frames, infos = self._step_with_resets(fresh)
            rewards[fresh] = 0.0
        else:
            frames = self._world.observe(self._rows, self._rngs)
            if self.mode is AutoresetMode.SAME_STEP and ended.any():
                infos = self._finish(ended, frames)
        infos |= pack(self._world.facts(), self._all)
        self._frames, self._ended = frames, ended
        return frames, rewards, terminated, truncated, infos

    def _begin(self, rows: np.ndarray, frames: np.ndarray, options: dict[str, Any] | None) -> np.ndarray:
        """Begin ``rows``, draw them into ``frames``; return goal frames (zero for the other rows)."""
        self._world.begin(rows, self._rngs, options)
        self._elapsed[rows], self._ended[rows] = 0, False
        goal_frames = np.zeros_like(frames)
        for picture, positions in ((frames, self._world.positions), (goal_frames, self._world.goals)):
            picture[rows] = self._world.draw(self._rows[rows], positions[rows], self._rngs)
        return goal_frames

    def _finish(self, ended: np.ndarray, frames: np.ndarray) -> dict[str, Any]:
        """Begin the ended rows in the same step; what their episodes ended with goes into the infos."""
        last = np.full(self.num_envs, None, dtype=object)
        for row in np.flatnonzero(ended):
            last[row] = frames[row].copy()
        facts = pack(self._world.facts(), ended)
        goal_frames = self._begin(ended, frames, None)
        finals = {
            "final_obs": last,
            "_final_obs": ended.copy(),
            "final_info": facts,
            "_final_info": ended.copy(),
        }
        return finals | pack({"goal_frame": goal_frames}, ended)

    def _step_with_resets(self, fresh: np.ndarray) -> tuple[np.ndarray, dict[str, Any]]:
        """Draw the rows that moved; begin the others, whose last step ended their episodes."""
        frames = np.zeros_like(self._frames)
        goal_frames = self._begin(fresh, frames, None)
        moved = self._rows[~fresh]
        frames[moved] = self._world.observe(moved, self._rngs)
        return frames, pack({"goal_frame": goal_frames}, fresh)

    def _mask(self, mask: Any) -> Bool[np.ndarray, " n"]:
        mask = np.asarray(mask)
        if mask.shape != (self.num_envs,) or mask.dtype != np.bool_ or not mask.any():
            raise ValueError(
                f"options['reset_mask'] must be a bool array of shape ({self.num_envs},) with at least one "
                f"True, got {mask.dtype} of shape {mask.shape}: {mask.tolist()}"
            )
        return mask

    def render(self) -> tuple[np.ndarray, ...] | None:
        """Return the last observations, if made with ``render_mode="rgb_array"``."""
        return None if self.render_mode is None else tuple(self._frames.copy())

    def set_state(self, positions: Float[np.ndarray, "n 2"]) -> UInt8[np.ndarray, "n y x 3"]:
        """Set every dot down at its position (shares of the width), keep all else; return observations."""
        self._world.put(positions)
        self._frames = self._world.observe(self._rows, self._rngs)
        return self._frames

    def render_positions(self, positions: Float[np.ndarray, "n 2"]) -> UInt8[np.ndarray, "n y x 3"]:
        """Draw each row's dot at another position in its present room, without noise."""
        return self._world.draw(self._rows, positions.astype(np.float32), None)

    def scripted_actions(
        self, rng: np.random.Generator | Sequence[np.random.Generator]
    ) -> Float32[np.ndarray, "n 2"]:
        """Return the next actions of the noisy policy; ``rng``: one generator for all rows, or one a row."""
        return self._world.scripted_actions(rng)


def pack(facts: dict[str, np.ndarray], rows: Bool[np.ndarray, " n"]) -> dict[str, np.ndarray]:
    """Return facts as a vector environment's infos: zero (or None) outside ``rows``, with a mask a key."""
    infos = {}
    for name, values in facts.items():
        if not rows.all():
            values[~rows] = None if values.dtype == object else 0
        infos[name], infos[f"_{name}"] = values, rows.copy()
    return infos
