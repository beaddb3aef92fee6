"""One observation as it is recorded, and the episode that a row of them becomes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from worldjepa.data.episodes.action_spec import ActionSpec
from worldjepa.data.episodes.episode import Episode


class UnusableEnvError(ValueError):
    """The environment cannot be recorded as asked; the message is one line for the person who asked."""


class EnvFault(ValueError):
    """The environment did something it should not have; the episode is lost."""


@dataclass(frozen=True)
class EnvFacts:
    """What is known of an environment once it has been reset.

    ``max_episode_steps``: after so many steps an episode is cut off, at the latest. ``batched``: the id has a
    vector environment of its own that leaves it to us to reset each row.
    """

    action: ActionSpec
    cameras: tuple[str, ...]
    proprioception_dim: int
    state_names: tuple[str, ...]
    fps: float | None
    max_episode_steps: int
    batched: bool


@dataclass(frozen=True)
class Moment:
    """What is recorded of one observation; of a batch, each array has an axis of rows first."""

    frames: dict[str, UInt8[np.ndarray, "*rows y x 3"]]
    proprioception: Float32[np.ndarray, "*rows q"] | None
    state: Float32[np.ndarray, "*rows z"] | None

    def row(self, index: int) -> Moment:
        """Return the moment of one environment of a batch, in memory of its own."""
        frames = {camera: frame[index].copy() for camera, frame in self.frames.items()}
        own = [None if part is None else part[index].copy() for part in (self.proprioception, self.state)]
        return Moment(frames, *own)


class EpisodeBuilder:
    """An episode while it is being collected."""

    def __init__(self, start: Moment, seed: int) -> None:
        self.moments, self.seed = [start], seed
        self.actions: list[Any] = []
        self.rewards: list[float] = []

    def add(self, action: Any, reward: float, moment: Moment) -> None:
        """Add a step: the action, and what came of it."""
        self.actions.append(action)
        self.rewards.append(reward)
        self.moments.append(moment)

    def finish(
        self, action: ActionSpec, *, terminated: bool, truncated: bool, success: bool | None
    ) -> Episode:
        """Return the whole episode."""
        cameras = self.moments[0].frames
        frames = {name: np.stack([moment.frames[name] for moment in self.moments]) for name in cameras}
        return Episode(
            frames=frames,
            actions=action.from_env(np.stack(self.actions)),
            rewards=np.array(self.rewards, np.float32),
            terminated=terminated,
            truncated=truncated,
            seed=self.seed,
            proprioception=_stacked([moment.proprioception for moment in self.moments]),
            state=_stacked([moment.state for moment in self.moments]),
            success=success,
        )


def _stacked(parts: Sequence[np.ndarray | None]) -> np.ndarray | None:
    return None if parts[0] is None else np.stack([part for part in parts if part is not None])


def success_of(info: Mapping[str, Any]) -> bool | None:
    """Return whether the environment calls the episode a success, where it says so."""
    for key in ("success", "is_success"):
        if key in info and np.size(info[key]) == 1:
            return bool(np.asarray(info[key]).item())
    return None
