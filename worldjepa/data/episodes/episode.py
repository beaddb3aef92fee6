"""What an episode holds, and the protocol by which every store of episodes is read.

Observation ``i`` comes before environment step ``i``; an episode of ``n`` steps has ``n + 1`` of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float32, Int64, UInt8

from worldjepa.data.episodes.action_spec import ActionSpec


@dataclass(frozen=True)
class EpisodeSpec:
    """What all episodes of a store have in common.

    ``frame_size`` is (y, x), of the first camera; ``state_names`` name the components of the true state, as
    ``position.0``; ``fps`` is how many environment steps a second stand for, where known.
    """

    env_id: str
    action: ActionSpec
    frame_size: tuple[int, int]
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    cameras: tuple[str, ...] = ("pixels",)
    proprioception_dim: int = 0
    state_names: tuple[str, ...] = ()
    fps: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return asdict(self) | {"action": self.action.to_dict()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> EpisodeSpec:
        """Return what ``to_dict`` wrote; raises ``ValueError`` when a part is missing or of another type."""
        try:
            return cls(
                env_id=str(values["env_id"]),
                action=ActionSpec.from_dict(values["action"]),
                frame_size=(int(values["frame_size"][0]), int(values["frame_size"][1])),
                env_kwargs=dict(values["env_kwargs"]),
                cameras=tuple(map(str, values["cameras"])),
                proprioception_dim=int(values["proprioception_dim"]),
                state_names=tuple(map(str, values["state_names"])),
                fps=None if values["fps"] is None else float(values["fps"]),
            )
        except (KeyError, TypeError, IndexError) as error:
            raise ValueError(f"this does not describe episodes ({error!r}): {values}") from error


@dataclass(frozen=True, eq=False)
class Episode:
    """One episode of ``n`` environment steps, as it is appended to a store.

    ``frames``: uint8 ``[n+1 y x c]``, or a dictionary of them by camera. ``actions``: ``[n dim]``, in model
    form (``ActionSpec.from_env``). ``rewards``: ``[n]``. ``proprioception``: ``[n+1 q]``, ``state``:
    ``[n+1 z]``;
    None where the spec names none. ``terminated`` and ``truncated`` hold of the last step.
    """

    frames: np.ndarray | Mapping[str, np.ndarray]
    actions: np.ndarray
    rewards: np.ndarray
    terminated: bool
    truncated: bool
    seed: int
    proprioception: np.ndarray | None = None
    state: np.ndarray | None = None
    success: bool | None = None


class Excerpt(NamedTuple):
    """Frames of an episode, and ``k`` environment steps in a row with the ``k + 1`` observations at them."""

    frames: UInt8[np.ndarray, "f c y x"]
    actions: Float32[np.ndarray, "k a"]
    rewards: Float32[np.ndarray, " k"]
    terminated: Bool[np.ndarray, " k"]
    proprioception: Float32[np.ndarray, "k+1 q"] | None = None
    state: Float32[np.ndarray, "k+1 z"] | None = None


@runtime_checkable
class Episodes(Protocol):
    """Recorded episodes, numbered from 0, however they lie on disk."""

    @property
    def spec(self) -> EpisodeSpec:
        """What all episodes have in common."""
        ...

    @property
    def root(self) -> Path:
        """The folder they lie in."""
        ...

    @property
    def lengths(self) -> Int64[np.ndarray, " episodes"]:
        """Environment steps of each episode; 0 for one that is missing or torn."""
        ...

    @property
    def seeds(self) -> tuple[int | None, ...]:
        """The seed each episode was reset with, where known."""
        ...

    def read(
        self,
        episode: int,
        frame_ids: Sequence[int],
        start: int,
        stop: int,
        camera: str | None = None,
        out: UInt8[np.ndarray, "f c y2 x2"] | None = None,
    ) -> Excerpt:
        """Return the frames of observations ``frame_ids`` and environment steps ``start`` to ``stop - 1``.

        ``camera`` None: the first one. If the frames have the shape of ``out``, they are written there, and
        ``out`` is what the excerpt holds. Raises ``ValueError`` for what the episode does not have, and where
        its files are damaged.
        """
        ...


def placed(
    frames: UInt8[np.ndarray, "f c y x"], out: UInt8[np.ndarray, "f c y2 x2"] | None
) -> UInt8[np.ndarray, "f c y x"]:
    """Return ``frames``, copied into ``out`` if it has their shape: what ``Episodes.read`` promises."""
    if out is None or out.shape != frames.shape:
        return frames
    out[:] = frames
    return out


def check_span(
    episodes: Episodes, episode: int, frame_ids: Sequence[int], start: int, stop: int, camera: str | None
) -> int:
    """Return the episode's steps; ``ValueError`` unless it has these observations, steps and camera."""
    lengths, cameras = episodes.lengths, episodes.spec.cameras
    if not 0 <= episode < len(lengths):
        raise ValueError(f"{episodes.root} has episodes 0 to {len(lengths) - 1}, there is no {episode}")
    steps = int(lengths[episode])
    if not 0 <= start <= stop <= steps:
        raise ValueError(f"episode {episode} has {steps} steps; steps {start} to {stop - 1} lie outside")
    if len(frame_ids) and not 0 <= min(frame_ids) <= max(frame_ids) <= steps:
        raise ValueError(f"episode {episode} has observations 0 to {steps}, asked for {list(frame_ids)}")
    if camera is not None and camera not in cameras:
        raise ValueError(f"there is no camera {camera!r} in {episodes.root}; it has {', '.join(cameras)}")
    return steps


def checked_parts(
    episode: Episode, spec: EpisodeSpec
) -> tuple[dict[str, np.ndarray], dict[str, UInt8[np.ndarray, "f c y x"]]]:
    """Return an episode's arrays (float32) and its cameras' frames by name.

    Raises ``ValueError`` unless they fit ``spec``, are finite and of one step at least.
    """
    steps = len(np.atleast_1d(episode.actions))
    if steps < 1:
        raise ValueError("an episode needs at least one step, got none")
    wanted = {"actions": (steps, spec.action.dim), "rewards": (steps,)}
    for name, dim in (("proprioception", spec.proprioception_dim), ("state", len(spec.state_names))):
        if dim:
            wanted[name] = (steps + 1, dim)
        elif getattr(episode, name) is not None:
            raise ValueError(f"the episode has {name}, but the store's spec has none")
    arrays = {}
    for name, shape in wanted.items():
        values = np.asarray(getattr(episode, name))
        if values.shape != shape or not np.issubdtype(values.dtype, np.number):
            raise ValueError(
                f"expected numbers of shape {shape} for {name}, got {values.dtype} {values.shape}"
            )
        with np.errstate(over="ignore"):
            arrays[name] = values.astype(np.float32)
        if not np.isfinite(arrays[name]).all():
            raise ValueError(f"{name} holds values that are not finite in float32")
    frames = episode.frames if isinstance(episode.frames, Mapping) else {spec.cameras[0]: episode.frames}
    if sorted(frames) != sorted(spec.cameras):
        raise ValueError(f"expected frames of the cameras {list(spec.cameras)}, got {list(frames)}")
    shape = (steps + 1, *spec.frame_size, 3)
    images = {}
    for camera, stack in frames.items():
        if stack.dtype != np.uint8 or stack.shape != shape:
            raise ValueError(
                f"expected uint8 frames of shape {shape} (one more than steps) from {camera!r}, "
                f"got {stack.dtype} {stack.shape}"
            )
        images[f"frames.{camera}"] = np.moveaxis(stack, -1, 1)
    return arrays, images
