"""What of an environment is recorded: pictures, proprioception, true state; whether it is as it should be.

Works on one environment and on a batch of them alike: a *moment* is one observation with its info, its arrays
with a leading axis over the rows of the batch where there is one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from jaxtyping import Float32, UInt8
from PIL import Image

from worldjepa.data.collection.moments import EnvFault, Moment, UnusableEnvError
from worldjepa.settings.env import EnvConfig

RENDER, OBSERVATION, PIXELS = "render", "observation", "pixels"


class Recorder:
    """Takes the moments out of what an environment returns.

    ``space`` is the observation space of one environment, ``render`` gives pictures where the settings ask
    for them. Raises ``UnusableEnvError`` for keys that are not there or hold something else.
    """

    def __init__(
        self,
        config: EnvConfig,
        size: int,
        space: spaces.Space,
        render: Callable[[], Any],
        rows: int | None = None,
    ) -> None:
        self.config, self.size, self.space, self.render = config, size, space, render
        self.lead = () if rows is None else (rows,)
        self.sources = picture_sources(config, space)
        self.cameras = (PIXELS,) if len(self.sources) == 1 else self.sources
        self.leaves = _leaves(space)
        self.shapes: dict[str, tuple[int, ...]] = {}  # of the pictures as they come
        _check_proprioception(config.proprioception, space)

    def take(self, observation: Any, info: Mapping[str, Any]) -> Moment:
        """Return the moment of an observation; raises ``EnvFault`` if it is not as its space says.

        In a batch, values that are not finite pass: see ``unsound_rows``.
        """
        if not isinstance(info, Mapping):
            raise EnvFault(f"info is {_shown(info)}, expected a dictionary")
        for path, leaf in self.leaves:
            self._check_leaf(_at(observation, path), leaf, path)
        frames = {
            camera: self._frames(source, observation)
            for camera, source in zip(self.cameras, self.sources, strict=True)
        }
        moment = Moment(frames, self._proprioception(observation), self._state(info))
        if not self.lead and (what := _not_finite(moment)):
            raise EnvFault(what)
        return moment

    def _check_leaf(self, value: Any, space: spaces.Space, path: tuple[str, ...]) -> None:
        """Compare a part of the observation with its space: shape, kind of number, finite; bounds are not."""
        name = ".".join(("observation", *path))
        if not isinstance(space, spaces.Box):
            if not self.lead and not space.contains(value):
                raise EnvFault(f"{name} is {_shown(value)}, not in its space {space}")
            return
        array = np.asarray(value)
        if array.shape != self.lead + space.shape:
            raise EnvFault(f"{name} has shape {array.shape}, its space says {self.lead + space.shape}")
        if not np.can_cast(array.dtype, space.dtype, "same_kind"):
            raise EnvFault(f"{name} is {array.dtype}, its space says {space.dtype}")
        if not self.lead and array.dtype.kind == "f" and not np.isfinite(array).all():
            raise EnvFault(f"{name} holds values that are not finite")

    def _frames(self, source: str, observation: Any) -> UInt8[np.ndarray, "*rows y x 3"]:
        name = "render()" if source == RENDER else f"observation {source}"
        if source == RENDER:
            found = self.render()
        else:
            found = observation if isinstance(self.space, spaces.Box) else observation[source]
        if self.lead and isinstance(found, (tuple, list)):
            found = np.stack(found)
        return resized(self._picture(found, name), self.size)

    def _picture(self, found: Any, name: str) -> UInt8[np.ndarray, "*rows y x 3"]:
        picture = np.asarray(found) if isinstance(found, np.ndarray) else None
        if picture is not None and picture.ndim == len(self.lead) + 2:
            picture = picture[..., None]
        if (
            picture is None
            or picture.dtype != np.uint8
            or picture.ndim != len(self.lead) + 3
            or picture.shape[: len(self.lead)] != self.lead
            or picture.shape[-1] not in (1, 3)
            or 0 in picture.shape
        ):
            raise EnvFault(f"{name} gave {_shown(found)}, expected a uint8 picture [y x 3]")
        if picture.shape != self.shapes.setdefault(name, picture.shape):
            raise EnvFault(f"{name} gave {_shown(found)}, at first {self.shapes[name]}")
        return picture if picture.shape[-1] == 3 else np.repeat(picture, 3, axis=-1)

    def _proprioception(self, observation: Any) -> Float32[np.ndarray, "*rows q"] | None:
        if not self.config.proprioception:
            return None
        plain = isinstance(self.space, spaces.Box)
        return self._joined(
            [observation if plain else observation[key] for key in self.config.proprioception]
        )

    def _state(self, info: Mapping[str, Any]) -> Float32[np.ndarray, "*rows z"] | None:
        if not self.config.state:
            return None
        missing = [key for key in self.config.state if key not in info]
        if missing:
            raise EnvFault(f"info lacks {missing[0]}; it has {', '.join(_numeric_keys(info)) or 'nothing'}")
        try:
            return self._joined([info[key] for key in self.config.state])
        except (TypeError, ValueError) as error:
            raise EnvFault(f"info holds no numbers under {', '.join(self.config.state)} ({error})") from error

    def _joined(self, parts: Sequence[Any]) -> Float32[np.ndarray, "*rows n"]:
        with np.errstate(over="ignore"):  # becomes infinite, and is found
            arrays = [np.asarray(part).astype(np.float32).reshape(*self.lead, -1) for part in parts]
        return np.concatenate(arrays, axis=-1)

    def state_names(self, info: Mapping[str, Any]) -> tuple[str, ...]:
        """Return a name for each component of the state, such as ``position.0``; of one environment."""
        names: list[str] = []
        for key in self.config.state:
            if key not in info:
                keys = ", ".join(_numeric_keys(info)) or "no numbers"
                raise UnusableEnvError(f"env.state: info has no key {key!r} after reset; it has {keys}")
            shape = np.shape(info[key])
            names += [key] if shape == () else [f"{key}.{i}" for i in range(int(np.prod(shape)))]
        return tuple(names)


def picture_sources(config: EnvConfig, space: spaces.Space) -> tuple[str, ...]:
    """Return where pictures come from: ``render``, ``observation`` (an image itself), or keys of a Dict."""
    if config.pixels is None:
        return (OBSERVATION,) if _is_image(space) else (RENDER,)
    sources = names_of(config.pixels)
    keys = space.spaces if isinstance(space, spaces.Dict) else {}
    for name in sources:
        if name == RENDER or (name == OBSERVATION and _is_image(space)):
            continue
        images = [key for key, part in keys.items() if _is_image(part)]
        if name not in keys:
            has = f"has the keys {', '.join(keys)}" if keys else f"is {space}"
            raise UnusableEnvError(f"env.pixels={config.pixels}: no {name!r} there; the observation {has}")
        if name not in images:
            raise UnusableEnvError(
                f"env.pixels={config.pixels}: {name} is {keys[name]}, expected uint8 pictures [y x 3]; "
                f"there are {', '.join([*images, RENDER])}"
            )
    return sources


def names_of(pixels: str) -> tuple[str, ...]:
    """Return the names that ``env.pixels`` lists."""
    return tuple(name.strip() for name in pixels.split(","))


def resized(picture: UInt8[np.ndarray, "*rows y x 3"], size: int) -> UInt8[np.ndarray, "*rows size size 3"]:
    """Return pictures at ``size`` x ``size``, bilinear with antialiasing; other shapes are squeezed whole."""
    if picture.shape[-3:-1] == (size, size):
        return picture
    if picture.ndim > 3:
        return np.stack([resized(one, size) for one in picture])
    return np.asarray(Image.fromarray(picture).resize((size, size), Image.Resampling.BILINEAR))


def unsound_rows(moment: Moment, rewards: Any) -> dict[int, str]:
    """Return the rows of a batch that hold values that are not finite, and what they are."""
    parts = {"reward": rewards, "proprioception": moment.proprioception, "state": moment.state}
    found: dict[int, str] = {}
    for name, part in parts.items():
        if part is not None and not (finite := np.isfinite(part)).all():
            rows = finite.reshape(len(finite), -1).all(axis=1)
            found |= {int(row): f"{name} is not finite" for row in np.flatnonzero(~rows)}
    return found


def _check_proprioception(keys: Sequence[str], space: spaces.Space) -> None:
    if isinstance(space, spaces.Box) and len(space.shape) <= 1 and set(keys) <= {OBSERVATION}:
        return
    parts = space.spaces if isinstance(space, spaces.Dict) else {}
    vectors = [key for key, part in parts.items() if not _is_image(part) and part.shape is not None]
    for key in keys:
        if key not in vectors:
            there = f"there are {', '.join(vectors)}" if vectors else f"the observation is {space}"
            plain = isinstance(space, spaces.Box) and len(space.shape) <= 1
            hint = "; write env.proprioception=[observation]" if plain else ""
            raise UnusableEnvError(f"env.proprioception: no vector {key!r} is observed; {there}{hint}")


def _is_image(space: spaces.Space) -> bool:
    if not isinstance(space, spaces.Box) or space.dtype != np.uint8:
        return False
    shape = space.shape
    return (len(shape) == 3 and shape[2] in (1, 3) and min(shape[:2]) > 3) or (
        len(shape) == 2 and min(shape) > 3
    )


def _leaves(space: spaces.Space, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], spaces.Space]]:
    """Return the parts of an observation space that are no dictionaries, with their keys."""
    if not isinstance(space, spaces.Dict):
        return [(path, space)]
    return [leaf for key, part in space.spaces.items() for leaf in _leaves(part, (*path, key))]


def _at(observation: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        if not isinstance(observation, Mapping) or key not in observation:
            raise EnvFault(f"the observation lacks {'.'.join(path)}: it is {_shown(observation)}")
        observation = observation[key]
    return observation


def _not_finite(moment: Moment) -> str:
    for name in ("proprioception", "state"):
        part = getattr(moment, name)
        if part is not None and not np.isfinite(part).all():
            return f"{name} holds values that are not finite"
    return ""


def _numeric_keys(info: Mapping[str, Any]) -> list[str]:
    return [key for key, value in info.items() if np.asarray(value).dtype.kind in "fiub"]


def _shown(value: Any) -> str:
    """Describe what came in place of what was expected."""
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {value.shape}"
    text = " ".join(repr(value).split())
    return text if len(text) < 60 else f"{text[:60]}... ({type(value).__name__})"
