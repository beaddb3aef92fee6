"""Observations as Gymnasium gives them, to pictures and proprioception by row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8


@dataclass(frozen=True)
class Observed:
    """One moment of ``b`` environments; ``single``: it came without an axis of environments."""

    frames: UInt8[np.ndarray, "b y x 3"]
    proprioception: Float32[np.ndarray, "b q"] | None
    single: bool


@dataclass(frozen=True)
class Observer:
    """Where the pictures and the measured state of an observation are found.

    ``pixels``: the key of a Dict observation (None: the observation itself, or the only picture in the Dict).
    ``proprioception``: keys of a Dict observation, joined.
    """

    pixels: str | None = None
    proprioception: tuple[str, ...] = ()

    def read(self, observation: Any) -> Observed:
        """Return pictures and measured state.

        Raises:
            ValueError: no pictures there, or not uint8 ``[y x 3]`` (grey ones too), with a leading axis of
                environments or without; or keys that are missing.
        """
        frames, single = _pictures(self._picture(observation))
        return Observed(frames, self._measured(observation, len(frames)), single)

    def _picture(self, observation: Any) -> Any:
        if not isinstance(observation, Mapping):
            return observation
        if self.pixels is not None:
            return _at(observation, self.pixels)
        found = [key for key, value in observation.items() if _looks_like_pictures(value)]
        if len(found) != 1:
            raise ValueError(
                f"the observation has the keys {', '.join(observation)}, and {len(found)} of them hold uint8 "
                "pictures; name the one to be used by pixels=KEY"
            )
        return observation[found[0]]

    def _measured(self, observation: Any, rows: int) -> Float32[np.ndarray, "b q"] | None:
        if not self.proprioception:
            return None
        if not isinstance(observation, Mapping):
            raise ValueError(
                f"proprioception={list(self.proprioception)} are keys of a Dict observation, got "
                f"{type(observation).__name__}"
            )
        return joined([_at(observation, key) for key in self.proprioception], rows)


def joined(parts: Sequence[Any], rows: int) -> Float32[np.ndarray, "b q"]:
    """Join measured vectors of ``rows`` environments."""
    return np.concatenate([np.asarray(part, np.float32).reshape(rows, -1) for part in parts], axis=-1)


def _at(observation: Mapping[str, Any], key: str) -> Any:
    if key not in observation:
        raise ValueError(f"the observation has no key {key!r}; it has {', '.join(observation)}")
    return observation[key]


def _looks_like_pictures(value: Any) -> bool:
    return getattr(value, "dtype", None) == np.uint8 and np.ndim(value) >= 2


def _pictures(value: Any) -> tuple[UInt8[np.ndarray, "b y x 3"], bool]:
    """Return pictures with an axis of environments, and whether it had to be added."""
    frames = np.asarray(value)
    if frames.ndim in (2, 3) and (frames.ndim == 2 or frames.shape[-1] not in (1, 3)):
        frames = frames[..., None]  # grey
    if frames.ndim not in (3, 4) or frames.shape[-1] not in (1, 3) or frames.dtype != np.uint8:
        raise ValueError(
            "observations and goal pictures must be uint8 [y x 3], or [b y x 3] of several environments, got "
            f"{frames.dtype} {np.shape(value)}; wrap the environment so that it renders, or name the picture "
            "of a Dict observation by pixels=KEY"
        )
    single = frames.ndim == 3
    frames = frames[None] if single else frames
    return np.broadcast_to(frames, (*frames.shape[:3], 3)), single
