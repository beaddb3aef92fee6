"""Environments in a batch that can be taken to any recorded moment: by a reset with its seed, and a replay.

Their internals are not touched, so this works for any deterministic Gymnasium environment.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from jaxtyping import Bool, Float32, UInt8

from worldjepa.data.collection.env_batch import row_of
from worldjepa.data.collection.env_making import make_batch, make_env
from worldjepa.data.collection.moments import Moment
from worldjepa.data.collection.recording import Recorder
from worldjepa.data.episodes.action_spec import action_spec
from worldjepa.settings.env import EnvConfig

NEVER = 10**6  # environment steps; an evaluation has a budget of its own


class Arena:
    """``rows`` environments that step together; use it as a context manager.

    A row whose episode ends keeps what was seen last, until the next ``replay``: ``frames [rows y x 3]`` of
    side ``size``, ``proprioception [rows q]`` and ``state [rows z]`` where ``env`` names them, and ``info``.
    With ``past_end``, no episode ends.

    Raises:
        ValueError: the environment cannot be made or shows other things than ``env`` says.
    """

    def __init__(self, env: EnvConfig, rows: int, *, size: int, past_end: bool = False):
        self.rows = rows
        self.env = make_vector_env(env, rows, past_end=past_end)
        self.spec = action_spec(self.env.single_action_space)
        space = self.env.single_observation_space
        self._recorder = Recorder(env, size, space, self.env.render, rows=rows)
        self._seeds: list[int] = [0] * rows
        self._ended = np.zeros(rows, bool)  # by the last step: to be reset before the next one
        self.over = np.zeros(rows, bool)
        self._infos: list[dict[str, Any]] = [{}] * rows  # of the whole batch, when a row was looked at last
        self.frames: UInt8[np.ndarray, "n y x 3"] = np.zeros((rows, size, size, 3), np.uint8)
        self.proprioception: Float32[np.ndarray, "n q"] | None = None
        self.state: Float32[np.ndarray, "n z"] | None = None

    def replay(self, seeds: Sequence[int], actions: Sequence[Float32[np.ndarray, "_ a"]]) -> None:
        """Take row i to where ``actions[i]`` (in model form) lead after a reset with ``seeds[i]``.

        Rows with fewer actions begin later, so that all arrive at once.

        Raises:
            ValueError: actions of another width than the environments take.
        """
        width = actions[0].shape[-1]
        if width != self.spec.dim:
            raise ValueError(
                f"the recorded actions have {width} numbers an environment step, and those of this "
                f"environment {self.spec.dim}; name the one that the episodes were collected in, by env.id"
            )
        longest = max(len(one) for one in actions)
        waits = np.array([longest - len(one) for one in actions])
        self._seeds = list(seeds)
        self._begin(np.ones(self.rows, bool), look=longest == 0)
        for now in range(longest):
            arriving = now + 1 == longest  # nobody looks on the way: pictures can be expensive
            vectors = np.zeros((self.rows, self.spec.dim), np.float32)
            for row in np.flatnonzero(waits <= now).tolist():
                vectors[row] = actions[row][now - waits[row]]
            self.step(self.spec.to_env(vectors), look=arriving)
            due = waits == now + 1
            if due.any():
                self._begin(due, look=arriving)

    def step(self, actions: np.ndarray, *, look: bool = True) -> None:
        """Make a step in every row, with actions as environments take them; rows that are over go unseen."""
        if self._ended.any():
            self._reset(self._ended)
        seen = ~self.over
        observation, _, terminated, truncated, info = self.env.step(actions)
        if look:
            self._see(self._recorder.take(observation, info), info, seen)
        self._ended = np.asarray(terminated) | np.asarray(truncated)
        self.over |= self._ended

    def info(self, row: int) -> dict[str, Any]:
        """Return what the environment told of a row when it was looked at last."""
        return row_of(self._infos[row], row)

    def close(self) -> None:
        """Close the environments."""
        self.env.close()

    def __enter__(self) -> Arena:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _begin(self, rows: Bool[np.ndarray, " n"], *, look: bool) -> None:
        observation, info = self._reset(rows)
        self.over &= ~rows
        self._ended &= ~rows
        if look:
            self._see(self._recorder.take(observation, info), info, rows)

    def _reset(self, rows: Bool[np.ndarray, " n"]) -> tuple[Any, dict[str, Any]]:
        seeds: Any = self._seeds  # annotated too narrowly
        return self.env.reset(seed=seeds, options={"reset_mask": rows.copy()})

    def _see(self, moment: Moment, info: dict[str, Any], rows: Bool[np.ndarray, " n"]) -> None:
        """Keep what ``rows`` show now."""
        self.frames[rows] = moment.frames[self._recorder.cameras[0]][rows]
        for name in ("proprioception", "state"):
            values, before = getattr(moment, name), getattr(self, name)
            if values is not None:
                shown = rows.reshape(-1, *[1] * (values.ndim - 1))
                setattr(self, name, values.copy() if before is None else np.where(shown, values, before))
        for row in np.flatnonzero(rows).tolist():
            self._infos[row] = info


class PastEnd(gymnasium.Wrapper):
    """Goes on where the environment says that the episode has ended."""

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Make a step."""
        observation, reward, _, _, info = self.env.step(action)
        return observation, reward, False, False, info


def make_vector_env(env: EnvConfig, rows: int, *, past_end: bool = False) -> VectorEnv:
    """Make ``rows`` environments as one that leaves resetting to us: their own vector environment, if any.

    With ``past_end`` they are single ones that never end.
    """
    env = replace(env, max_episode_steps=NEVER)
    make = (lambda: PastEnd(make_env(env))) if past_end else (lambda: make_env(env))
    batch = None if past_end else make_batch(env, rows)
    return SyncVectorEnv([make] * rows, autoreset_mode=AutoresetMode.DISABLED) if batch is None else batch
