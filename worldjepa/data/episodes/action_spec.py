"""Actions as the model sees them: one float vector an environment step, whatever the action space."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np

KINDS = ("box", "discrete", "multi_discrete")
CLOSING = (  # what to do about a Box that is open on a side, where bounds are needed
    "give the environment a Box with bounds, as by gymnasium.wrappers.TransformAction(env, lambda action: "
    "action, Box(low, high, shape))"
)


@dataclass(frozen=True)
class ActionSpec:
    """An action space and its two directions: ``from_env`` to the model's vectors, ``to_env`` back.

    ``box``: the values in environment units, flattened; ``low`` and ``high`` bound each (infinite if it is
    unbounded). ``discrete`` and ``multi_discrete``: a one-hot of width ``sizes[i]`` for each choice, joined;
    ``start[i]`` is the smallest number of choice i. ``shape`` and ``dtype`` are those of one ``env.step``.
    """

    kind: str
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    sizes: tuple[int, ...] = ()
    start: tuple[int, ...] = ()
    shape: tuple[int, ...] = ()
    dtype: str = "float32"

    def __post_init__(self):
        if self.kind not in KINDS:
            raise ValueError(f"action kind {self.kind!r}: expected one of {', '.join(KINDS)}")
        count = math.prod(self.shape)
        named = {"low": self.low, "high": self.high}
        if self.kind != "box":
            named = {"sizes": self.sizes, "start": self.start}
        for name, values in named.items():
            if len(values) != count:
                raise ValueError(
                    f"a {self.kind} action of shape {self.shape} needs {count} values of {name}, "
                    f"got {len(values)}"
                )

    @property
    def bounded(self) -> bool:
        """Whether every number of a box lies between finite bounds; choices always do."""
        return all(map(math.isfinite, (*self.low, *self.high)))

    @property
    def dim(self) -> int:
        """Width of one environment step's action for the model."""
        return len(self.low) if self.kind == "box" else sum(self.sizes)

    def from_env(self, actions: Any) -> np.ndarray:
        """Return actions as ``env.step`` takes them, ``[.. *shape]``, as float32 ``[.. dim]``."""
        actions = np.asarray(actions)
        lead = actions.ndim - len(self.shape)
        if lead < 0 or actions.shape[lead:] != self.shape:
            raise ValueError(
                f"expected actions whose last axes are {self.shape}, got an array of shape {actions.shape}"
            )
        flat = actions.reshape(*actions.shape[:lead], math.prod(self.shape))
        if self.kind == "box":
            return flat.astype(np.float32)
        choices = flat.astype(np.int64) - np.array(self.start)
        sizes = np.array(self.sizes)
        if (choices != flat - np.array(self.start)).any() or (choices < 0).any() or (choices >= sizes).any():
            highest = np.array(self.start) + sizes - 1
            raise ValueError(
                f"expected whole numbers from {list(self.start)} to {highest.tolist()}, got actions from "
                f"{flat.min()} to {flat.max()}"
            )
        hot = [np.eye(size, dtype=np.float32)[choices[..., i]] for i, size in enumerate(self.sizes)]
        return np.concatenate(hot, axis=-1)

    def to_env(self, vectors: Any) -> np.ndarray:
        """Return float vectors ``[.. dim]`` as actions ``[.. *shape]``: clipped to bounds, or the argmax."""
        vectors = np.asarray(vectors)
        if vectors.ndim < 1 or vectors.shape[-1] != self.dim:
            raise ValueError(
                f"expected vectors whose last axis is {self.dim}, got an array of shape {vectors.shape}"
            )
        shape, dtype = (*vectors.shape[:-1], *self.shape), np.dtype(self.dtype)
        if self.kind == "box":
            values = np.clip(vectors.astype(np.float64), self.low, self.high)
            values = np.rint(values) if dtype.kind in "iu" else values
            return values.astype(dtype).reshape(shape)
        parts = np.split(vectors, np.cumsum(self.sizes)[:-1], axis=-1)
        choices = [part.argmax(axis=-1) + start for part, start in zip(parts, self.start, strict=True)]
        return np.stack(choices, axis=-1).astype(dtype).reshape(shape)

    def carried_out(self, vectors: Any) -> np.ndarray:
        """Return float vectors ``[.. dim]`` as the environment will take them: in bounds, one choice each."""
        return self.from_env(self.to_env(vectors))

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain JSON values; infinite bounds as the words "inf" and "-inf"."""
        return {
            "kind": self.kind,
            "low": [_plain(value) for value in self.low],
            "high": [_plain(value) for value in self.high],
            "sizes": list(self.sizes),
            "start": list(self.start),
            "shape": list(self.shape),
            "dtype": self.dtype,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ActionSpec:
        """Return what ``to_dict`` wrote; raises ``ValueError`` when a part is missing or of another type."""
        try:
            return cls(
                kind=values["kind"],
                low=tuple(map(float, values["low"])),
                high=tuple(map(float, values["high"])),
                sizes=tuple(map(int, values["sizes"])),
                start=tuple(map(int, values["start"])),
                shape=tuple(map(int, values["shape"])),
                dtype=np.dtype(values["dtype"]).name,
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"this does not describe an action space ({error!r}): {values}") from error


def action_spec(space: gymnasium.Space) -> ActionSpec:
    """Return the spec of a Box, Discrete or MultiDiscrete action space of a single environment.

    Raises ``ValueError`` for any other space.
    """
    if isinstance(space, gymnasium.spaces.Box):
        low, high = (tuple(np.asarray(edge, np.float64).ravel().tolist()) for edge in (space.low, space.high))
        return ActionSpec("box", low=low, high=high, shape=space.shape, dtype=space.dtype.name)
    if isinstance(space, gymnasium.spaces.Discrete):
        sizes, start = (int(space.n),), (int(space.start),)
        return ActionSpec("discrete", sizes=sizes, start=start, dtype=space.dtype.name)
    if isinstance(space, gymnasium.spaces.MultiDiscrete):
        sizes, start = (tuple(map(int, np.ravel(part))) for part in (space.nvec, space.start))
        return ActionSpec(
            "multi_discrete", sizes=sizes, start=start, shape=space.nvec.shape, dtype=space.dtype.name
        )
    raise ValueError(
        f"action space {space} is not supported: expected Box, Discrete or MultiDiscrete; "
        "wrap the environment (gymnasium.ActionWrapper) so that it takes one of them"
    )


def _plain(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)
