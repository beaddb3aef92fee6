"""Minari datasets read as they are, without the ``minari`` package.

A dataset is a folder with ``data/metadata.json``, which holds its spaces; how the episodes lie beside it,
``minari_storage.py`` knows.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete, MultiDiscrete
from jaxtyping import UInt8
from PIL import Image

from worldjepa.data.episodes.action_spec import action_spec
from worldjepa.data.episodes.episode import EpisodeSpec, Excerpt, check_span, placed
from worldjepa.data.episodes.minari_storage import EpisodeContent, Keys, open_storage

PIXELS = "pixels"  # names the camera where the observation is the image itself
KINDS = ("Dict", "Box", "Discrete", "MultiDiscrete")
GOALS = ("achieved_goal", "desired_goal")  # of gymnasium_robotics.GoalEnv: no part of the robot's own state


@dataclass(frozen=True)
class Leaf:
    """An array of an episode: where it stands and the space of one row."""

    keys: Keys
    space: gymnasium.Space

    @property
    def name(self) -> str:
        """Its keys below the observation."""
        return ".".join(self.keys[1:]) or PIXELS

    @property
    def image_size(self) -> tuple[int, int] | None:
        """(y, x) of an image, RGB or grey, channels first or last; None for anything else."""
        space, shape = self.space, self.space.shape or ()
        if not isinstance(space, Box) or space.dtype != np.uint8:
            return None
        if space.low.min() != 0 or space.high.max() != 255:
            return None
        if len(shape) == 2:
            return shape
        if len(shape) != 3 or not {shape[0], shape[-1]} & {1, 3}:
            return None
        return shape[:2] if shape[-1] in (1, 3) else shape[1:]


class MinariEpisodes:
    """The episodes of a Minari dataset, behind the protocol ``Episodes``.

    Cameras are the images among the observations (uint8 from 0 to 255), named by their keys in a Dict
    observation; proprioception are its other vectors, joined, but for goals. Raises ``ValueError`` for a
    folder that is no such dataset, or has no images.
    """

    def __init__(self, root: Path | str):
        self.root = Path(root)
        folder = self.root / "data"
        metadata = _metadata(folder / "metadata.json")
        leaves = list(_leaves(("observations",), _space(metadata["observation_space"], folder)))
        self._cameras = {leaf.name: leaf for leaf in leaves if leaf.image_size}
        self._vectors = [leaf for leaf in leaves if _is_vector(leaf)]
        if not self._cameras:
            raise ValueError(
                f"{root} has no images among its observations ({', '.join(leaf.name for leaf in leaves)}); "
                "record its environment anew with python -m worldjepa.collect"
            )
        env = json.loads(metadata.get("env_spec") or "{}")
        self.spec = EpisodeSpec(
            env_id=str(env.get("id") or metadata.get("dataset_id") or self.root.name),
            env_kwargs=dict(env.get("kwargs") or {}),
            action=action_spec(_space(metadata["action_space"], folder)),
            frame_size=next(leaf.image_size for leaf in self._cameras.values() if leaf.image_size),
            cameras=tuple(self._cameras),
            proprioception_dim=sum(math.prod(leaf.space.shape or ()) for leaf in self._vectors),
        )
        self._storage = open_storage(folder, str(metadata["data_format"]))
        found = self._storage.survey(int(metadata["total_episodes"]))
        self.lengths = np.array([steps for steps, _ in found], np.int64)
        self.seeds = tuple(seed for _, seed in found)

    def read(
        self,
        episode: int,
        frame_ids: Sequence[int],
        start: int,
        stop: int,
        camera: str | None = None,
        out: UInt8[np.ndarray, "f c y2 x2"] | None = None,
    ) -> Excerpt:
        """Return frames and environment steps of an episode, as ``Episodes.read`` says."""
        check_span(self, episode, frame_ids, start, stop, camera)
        leaf, action = self._cameras[camera or self.spec.cameras[0]], self.spec.action
        with self._storage.episode(episode) as content:
            pictures = {i: _picture(content.item(leaf.keys, i), leaf) for i in set(frame_ids)}
            actions = content.rows(("actions",), start, stop).reshape(stop - start, *action.shape)
            rewards = content.rows(("rewards",), start, stop).astype(np.float32)
            terminated = content.rows(("terminations",), start, stop).astype(np.bool_)
            vectors = [_vectors(content, one, start, stop + 1) for one in self._vectors]
        empty = np.zeros((0, 3, *(leaf.image_size or ())), np.uint8)
        frames = np.stack([pictures[i] for i in frame_ids]) if pictures else empty
        proprioception = np.concatenate(vectors, axis=1) if vectors else None
        return Excerpt(placed(frames, out), action.from_env(actions), rewards, terminated, proprioception)


def _metadata(path: Path) -> dict[str, Any]:
    try:
        metadata = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{path.parent.parent} is no Minari dataset of version 0.5 or later: {path} cannot be read "
            f"({error}); save an older one again with Minari's own tools"
        ) from error
    wanted = ("data_format", "total_episodes", "observation_space", "action_space")
    missing = [name for name in wanted if name not in metadata]
    if missing:
        raise ValueError(f"{path} lacks {', '.join(missing)}; save the dataset again with a later Minari")
    return metadata


def _space(serialised: str, folder: Path) -> gymnasium.Space:
    try:
        return _build_space(json.loads(serialised))
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{folder / 'metadata.json'}: a space cannot be read ({error!r})") from error


def _build_space(values: dict[str, Any]) -> gymnasium.Space:
    """Return a space from Minari's JSON (``minari/serialization.py``)."""
    kind = values["type"]
    if kind == "Dict":  # what is neither image nor numbers (a text) is left out
        parts = {k: v for k, v in values["subspaces"].items() if v["type"] in KINDS}
        return gymnasium.spaces.Dict({k: _build_space(v) for k, v in parts.items()})
    if kind == "Box":
        low, high = (np.array(values[edge], dtype=values["dtype"]) for edge in ("low", "high"))
        return Box(low, high, tuple(values["shape"]), np.dtype(values["dtype"]).type)
    if kind == "Discrete":
        return Discrete(values["n"], start=values["start"])
    if kind == "MultiDiscrete":
        return MultiDiscrete(values["nvec"], dtype=np.dtype(values["dtype"]).type, start=values["start"])
    raise ValueError(f"spaces of type {kind!r} are not read; expected one of {', '.join(KINDS)}")


def _leaves(keys: Keys, space: gymnasium.Space) -> Iterator[Leaf]:
    if isinstance(space, gymnasium.spaces.Dict):
        for key, part in space.spaces.items():
            yield from _leaves((*keys, key), part)
    else:
        yield Leaf(keys, space)


def _is_vector(leaf: Leaf) -> bool:
    return isinstance(leaf.space, Box) and len(leaf.space.shape) <= 1 and leaf.keys[-1] not in GOALS


def _vectors(content: EpisodeContent, leaf: Leaf, start: int, stop: int) -> np.ndarray:
    return content.rows(leaf.keys, start, stop).astype(np.float32).reshape(stop - start, -1)


def _picture(item: np.ndarray | bytes, leaf: Leaf) -> UInt8[np.ndarray, "c y x"]:
    """Return an image as RGB with the channels first, whether it is encoded or flat."""
    if isinstance(item, bytes):
        with Image.open(io.BytesIO(item)) as image:
            return np.moveaxis(np.asarray(image.convert("RGB")), -1, 0)
    image = item.reshape(leaf.space.shape)
    if image.ndim == 2:
        image = image[None]
    elif image.shape[-1] in (1, 3):
        image = np.moveaxis(image, -1, 0)
    return np.broadcast_to(image, (3, *image.shape[1:]))
