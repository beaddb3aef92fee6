"""What lies where in a LeRobot v3 folder: settings, episodes, the columns and images of its parquet files.

``meta/info.json`` names the features, ``meta/episodes`` says where each episode lies, ``data`` holds a row an
observation, ``videos`` one mp4 for many episodes of one camera (https://huggingface.co/docs/lerobot,
lerobot-dataset-v3). What LeRobot has no word for stands in ``meta/worldjepa.json``, if we wrote the folder.
"""

from __future__ import annotations

import io
import json
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import UInt8
from PIL import Image

from worldjepa.data.episodes.action_spec import ActionSpec

INFO, STATS, EPISODES, OURS = "meta/info.json", "meta/stats.json", "meta/episodes", "meta/worldjepa.json"
IMAGES = "observation.images."
MAX_GROUPS = 16  # row groups of encoded images kept in memory


class LeRobotFolder:
    """A folder's settings and where its episodes lie; raises ``ValueError`` for another version or kind."""

    def __init__(self, root: Path):
        self.root = root
        self.info = read_json(root / INFO)
        version = str(self.info.get("codebase_version"))
        if not version.startswith("v3."):
            raise ValueError(
                f"{root} is a LeRobot dataset of version {version}; expected v3.x: convert it with "
                "lerobot's own lerobot.datasets.v30.convert_dataset_v21_to_v30"
            )
        missing = [name for name in ("features", "fps", "data_path") if name not in self.info]
        if missing:
            raise ValueError(f"{root / INFO} lacks {', '.join(missing)}: this is no LeRobot v3 dataset")
        self.features: dict[str, dict[str, Any]] = self.info["features"]
        if "action" not in self.features:
            raise ValueError(f"{root} has no feature 'action', only {', '.join(sorted(self.features))}")
        self.fps = float(self.info["fps"])
        self.cameras = {key.removeprefix(IMAGES): key for key in self.features if self._is_camera(key)}
        if not self.cameras:
            raise ValueError(
                f"{root} has no camera (image or video) among {', '.join(sorted(self.features))}"
            )
        self.ours = read_json(root / OURS) if (root / OURS).exists() else {}
        self.places = self._read_places()
        self.first_rows = self._first_rows()

    def width(self, key: str) -> int:
        """Return how many numbers a feature has; 0 without it."""
        return int(np.prod(self.features[key]["shape"])) if key in self.features else 0

    def names(self, key: str) -> tuple[str, ...]:
        """Return a name for each number of a feature, where it has one of its own."""
        found = self.features.get(key, {}).get("names")
        if isinstance(found, dict):  # such as {"motors": [...]}
            found = next(iter(found.values()), None)
        if not isinstance(found, list) or len(found) != self.width(key):
            return tuple(f"{key}.{i}" for i in range(self.width(key)))
        return tuple(map(str, found))

    def frame_size(self, key: str) -> tuple[int, int]:
        """Return (y, x) of a camera."""
        shape = self.features[key]["shape"]
        y, x = shape[1:] if shape[0] == 3 else shape[:2]
        return int(y), int(x)

    def action_spec(self) -> ActionSpec:
        """Return the actions' spec: bounded by what is on record; whole numbers are choices."""
        dim, dtype, path = self.width("action"), str(self.features["action"]["dtype"]), self.root / STATS
        stats = read_json(path).get("action", {}) if path.exists() else {}
        low, high = (
            np.ravel(stats.get(edge, np.full(dim, inf))) for edge, inf in (("min", -np.inf), ("max", np.inf))
        )
        if not dtype.startswith("int"):
            return ActionSpec("box", low=tuple(low.tolist()), high=tuple(high.tolist()), shape=(dim,))
        if not np.isfinite([low, high]).all():
            raise ValueError(f"{path} does not say from where to where the whole numbers of 'action' go")
        sizes, start = (high - low + 1).astype(int), low.astype(int)
        return ActionSpec(
            "multi_discrete",
            sizes=tuple(sizes.tolist()),
            start=tuple(start.tolist()),
            shape=(dim,),
            dtype=dtype,
        )

    def data_path(self, episode: int) -> Path:
        """Return the parquet file of an episode."""
        chunk, file = (self.places[episode][f"data/{part}_index"] for part in ("chunk", "file"))
        return self.root / str(self.info["data_path"]).format(chunk_index=chunk, file_index=file)

    def video_path(self, episode: int, key: str) -> Path:
        """Return the mp4 of an episode and a camera."""
        chunk, file = (self.places[episode][f"videos/{key}/{part}_index"] for part in ("chunk", "file"))
        template = str(self.info["video_path"])
        return self.root / template.format(video_key=key, chunk_index=chunk, file_index=file)

    def _is_camera(self, key: str) -> bool:
        feature = self.features[key]
        depth = (feature.get("info") or {}).get("video.is_depth_map", False)
        return feature.get("dtype") in ("image", "video") and 3 in feature["shape"] and not depth

    def _read_places(self) -> list[dict[str, Any]]:
        """Return, for each episode, its length and where its rows and videos are."""
        files = sorted((self.root / EPISODES).glob("*/*.parquet"))
        if not files:
            raise ValueError(f"{self.root / EPISODES} holds no parquet file that lists the episodes")
        names = ["episode_index", "length", "data/chunk_index", "data/file_index", "dataset_from_index"]
        for key in self.cameras.values():
            if self.features[key]["dtype"] == "video":
                names += [f"videos/{key}/{part}" for part in ("chunk_index", "file_index", "from_timestamp")]
        places = [place for file in files for place in read_columns(file, names).to_pylist()]
        places.sort(key=lambda place: place["episode_index"])
        if [place["episode_index"] for place in places] != list(range(len(places))):
            raise ValueError(
                f"{self.root / EPISODES} does not list the episodes 0 to {len(places) - 1} once each"
            )
        return places

    def _first_rows(self) -> list[int]:
        """Return the first row of each episode in its file; ``dataset_from_index`` counts over all files."""
        first: dict[Path, int] = {}
        for i, place in enumerate(self.places):
            path = self.data_path(i)
            first[path] = min(first.get(path, place["dataset_from_index"]), place["dataset_from_index"])
        return [place["dataset_from_index"] - first[self.data_path(i)] for i, place in enumerate(self.places)]


class ImageColumn:
    """Images that lie encoded (PNG, JPEG) in a parquet file; the row groups read last stay in memory."""

    def __init__(self, path: Path, key: str):
        self._path, self._key = path, key
        groups = open_parquet(path).metadata
        self._ends = np.cumsum([groups.row_group(g).num_rows for g in range(groups.num_row_groups)])
        self._groups: OrderedDict[int, list[Any]] = OrderedDict()

    def picture(self, row: int, root: Path) -> UInt8[np.ndarray, "y x c"]:
        """Return the image of a row; one that is no part of the file lies relative to ``root``."""
        group = int(np.searchsorted(self._ends, row, side="right"))
        if group not in self._groups:
            table = open_parquet(self._path).read_row_group(group, columns=[self._key])
            self._groups[group] = table[self._key].to_pylist()
            if len(self._groups) > MAX_GROUPS:
                self._groups.popitem(last=False)
        cell = self._groups[group][row - int(self._ends[group])]  # counted from the group's end
        content = cell["bytes"] if isinstance(cell, dict) else cell
        with Image.open(io.BytesIO(content) if content else root / cell["path"]) as image:
            return np.asarray(image.convert("RGB"))


def read_json(path: Path) -> dict[str, Any]:
    """Return a JSON object; ``ValueError`` where there is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read ({error})") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path} holds no JSON object")
    return found


def open_parquet(path: Path) -> pq.ParquetFile:
    """Open a parquet file; ``ValueError`` for one that is missing or damaged."""
    try:
        return pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        raise ValueError(f"{path} cannot be read ({error})") from error


def read_columns(path: Path, names: list[str]) -> pa.Table:
    """Return columns of a parquet file; ``ValueError`` when one is missing."""
    file = open_parquet(path)
    missing = [name for name in names if name not in file.schema_arrow.names]
    if missing:
        raise ValueError(f"{path} lacks the columns {', '.join(missing)}; this is no LeRobot v3 dataset")
    return file.read(names)


def as_array(column: pa.ChunkedArray) -> np.ndarray:
    """Return a column of numbers, or of lists of numbers, as one flat array."""
    parts = column.chunks
    while parts and pa.types.is_nested(parts[0].type):
        parts = [part.flatten() for part in parts]
    return np.concatenate([part.to_numpy(zero_copy_only=False) for part in parts])
