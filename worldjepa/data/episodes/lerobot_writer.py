"""Write episodes as a LeRobot v3 folder, so that others can read them.

Frames become PNG images in the parquet files (LeRobot's dtype ``image``), which keeps them exactly.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float, Int, UInt8
from PIL import Image

from worldjepa.data.episodes.episode import Episodes, EpisodeSpec
from worldjepa.data.episodes.lerobot import DONE, PROPRIOCEPTION, REWARD, STATE, TERMINATED
from worldjepa.data.episodes.lerobot_layout import EPISODES, IMAGES, INFO, OURS, STATS

VERSION, CHUNK, FILE_BYTES = "v3.0", 1000, 100 * 2**20
DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
TASKS = "meta/tasks.parquet"
DEFAULT_FPS = 10.0


def write_lerobot(episodes: Episodes, root: Path | str, ids: Sequence[int] | None = None) -> Path:
    """Write episodes (``ids``; all of them) as a LeRobot v3 dataset into an empty or new folder; return it.

    Actions are in environment form (choices as whole numbers). The last observation of an episode is a row
    with the last action again, and reward 0. Raises ``ValueError`` when the folder holds something.
    """
    root = Path(root)
    if root.exists() and any(root.iterdir()):
        raise ValueError(f"{root} is not empty; choose another folder to write a LeRobot dataset to")
    chosen = np.flatnonzero(episodes.lengths).tolist() if ids is None else list(ids)
    if not chosen:
        raise ValueError(f"{episodes.root} has no episodes to write")
    (root / EPISODES / "chunk-000").mkdir(parents=True)
    writer = _Writer(episodes, root)
    for i in chosen:
        writer.add(i)
    writer.close()
    pq.write_table(pa.Table.from_pylist(writer.places), root / EPISODES / "chunk-000" / "file-000.parquet")
    pq.write_table(_tasks(episodes.spec.env_id), root / TASKS)
    seeds = episodes.seeds
    ours = {"spec": episodes.spec.to_dict(), "seeds": [seeds[i] for i in chosen]}
    stats = {key: running.summary() for key, running in writer.statistics.items()}
    for name, content in ((OURS, ours), (STATS, stats), (INFO, _info(episodes.spec, writer.places))):
        (root / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return root


class _Writer:
    """Writes rows, a row group an episode, and keeps what the metadata have to say of them."""

    def __init__(self, episodes: Episodes, root: Path):
        self._episodes, self._root = episodes, root
        self._file, self._parquet = -1, None
        self.places: list[dict[str, Any]] = []
        self.statistics: dict[str, _Running] = {}

    def add(self, episode: int) -> None:
        """Write one episode."""
        spec, steps = self._episodes.spec, int(self._episodes.lengths[episode])
        found = self._episodes.read(episode, (), 0, steps)
        last = np.minimum(np.arange(steps + 1), steps - 1)
        first = self.places[-1]["dataset_to_index"] if self.places else 0
        ends = np.arange(steps + 1) == steps - 1
        columns: dict[str, np.ndarray] = {
            "action": _actions(spec, found.actions[last]),
            REWARD: np.append(found.rewards, np.float32(0)),
            TERMINATED: np.append(found.terminated, False),
            DONE: ends,
            "timestamp": (np.arange(steps + 1) / _fps(spec)).astype(np.float32),
            "frame_index": np.arange(steps + 1),
            "episode_index": np.full(steps + 1, len(self.places)),
            "index": np.arange(first, first + steps + 1),
            "task_index": np.zeros(steps + 1, np.int64),
        }
        vectors = {PROPRIOCEPTION: found.proprioception, STATE: found.state}
        columns |= {key: values for key, values in vectors.items() if values is not None}
        arrays = {key: _column(values) for key, values in columns.items()}
        for key in ("action", REWARD, *(key for key in vectors if key in columns)):
            self.statistics.setdefault(key, _Running()).add(columns[key].reshape(steps + 1, -1))
        for camera in spec.cameras:
            frames = self._episodes.read(episode, range(steps + 1), 0, 0, camera).frames
            arrays[IMAGES + camera] = _images(frames)
            self.statistics.setdefault(IMAGES + camera, _Running(images=True)).add(
                np.moveaxis(frames, 1, -1).reshape(-1, 3) / 255
            )
        self._append(pa.table(arrays))
        self.places.append(self._place(steps + 1, first))

    def _append(self, table: pa.Table) -> None:
        if self._parquet is None or self._path().stat().st_size > FILE_BYTES:
            self.close()
            self._file += 1
            self._path().parent.mkdir(parents=True, exist_ok=True)
            self._parquet = pq.ParquetWriter(self._path(), table.schema)
        self._parquet.write_table(table)

    def _path(self) -> Path:
        chunk, file = divmod(self._file, CHUNK)
        return self._root / DATA_PATH.format(chunk_index=chunk, file_index=file)

    def _place(self, rows: int, first: int) -> dict[str, Any]:
        chunk, file = divmod(self._file, CHUNK)
        return {
            "episode_index": len(self.places),
            "tasks": [self._episodes.spec.env_id],
            "length": rows,
            "data/chunk_index": chunk,
            "data/file_index": file,
            "dataset_from_index": first,
            "dataset_to_index": first + rows,
            "meta/episodes/chunk_index": 0,
            "meta/episodes/file_index": 0,
        }

    def close(self) -> None:
        """Finish the file at hand."""
        if self._parquet is not None:
            self._parquet.close()


class _Running:
    """Least, greatest, mean and deviation of rows that come in parts."""

    def __init__(self, images: bool = False):
        self._images = images
        self.count, self.total, self.squares = 0, np.zeros(()), np.zeros(())
        self.low, self.high = np.array(np.inf), np.array(-np.inf)

    def add(self, rows: Float[np.ndarray, "n d"] | Int[np.ndarray, "n d"]) -> None:
        """Count rows in."""
        rows = rows.astype(np.float64)
        self.count += len(rows)
        self.total, self.squares = self.total + rows.sum(0), self.squares + (rows**2).sum(0)
        self.low, self.high = np.minimum(self.low, rows.min(0)), np.maximum(self.high, rows.max(0))

    def summary(self) -> dict[str, Any]:
        """Return the figures as LeRobot names them; those of images, by channel, as ``[3][1][1]``."""
        mean = self.total / self.count
        deviation = np.sqrt(np.maximum(self.squares / self.count - mean**2, 0))
        found = {"min": self.low, "max": self.high, "mean": mean, "std": deviation}
        shape = (3, 1, 1) if self._images else (-1,)
        return {name: values.reshape(shape).tolist() for name, values in found.items()} | {
            "count": [self.count]
        }


def _actions(spec: EpisodeSpec, vectors: Float[np.ndarray, "n a"]) -> np.ndarray:
    """Return choices as whole numbers, and values of a Box as they are, even beyond its bounds."""
    if spec.action.kind == "box":
        return vectors
    return spec.action.to_env(vectors).reshape(len(vectors), -1).astype(np.int64)


def _fps(spec: EpisodeSpec) -> int:
    return max(1, round(spec.fps or DEFAULT_FPS))


def _column(values: np.ndarray) -> pa.Array:
    """Return numbers as plain values, vectors of more than one number as lists of fixed size."""
    flat = pa.array(values.ravel())
    width = values.shape[1] if values.ndim == 2 else 1
    return flat if width == 1 else pa.FixedSizeListArray.from_arrays(flat, width)


def _images(frames: UInt8[np.ndarray, "f c y x"]) -> pa.Array:
    cells = []
    for frame in frames:
        content = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(np.moveaxis(frame, 0, -1))).save(content, "PNG")
        cells.append({"bytes": content.getvalue(), "path": None})
    return pa.array(cells, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))


def _tasks(task: str) -> pa.Table:
    """Return the table of the one task, its name as the index that pandas looks for."""
    plain = {"pandas_type": "unicode", "numpy_type": "object", "metadata": None}
    number = {"pandas_type": "int64", "numpy_type": "int64", "metadata": None}
    about = {
        "index_columns": ["task"],
        "column_indexes": [],
        "columns": [
            {"name": "task_index", "field_name": "task_index"} | number,
            {"name": "task", "field_name": "task"} | plain,
        ],
        "pandas_version": "2.0",
    }
    table = pa.table({"task_index": pa.array([0], pa.int64()), "task": [task]})
    return table.replace_schema_metadata({"pandas": json.dumps(about)})


def _info(spec: EpisodeSpec, places: list[dict[str, Any]]) -> dict[str, Any]:
    def feature(dtype: str, width: int = 1, names: Sequence[str] | None = None) -> dict[str, Any]:
        return {"dtype": dtype, "shape": [width], "names": None if names is None else list(names)}

    y, x = spec.frame_size
    count = max(1, math.prod(spec.action.shape))
    features = {
        "action": feature("float32" if spec.action.kind == "box" else "int64", count),
        REWARD: feature("float32"),
        TERMINATED: feature("bool"),
        DONE: feature("bool"),
        "timestamp": feature("float32"),
        **{key: feature("int64") for key in ("frame_index", "episode_index", "index", "task_index")},
        **{
            IMAGES + camera: {"dtype": "image", "shape": [y, x, 3], "names": ["height", "width", "channels"]}
            for camera in spec.cameras
        },
    }
    if spec.proprioception_dim:
        features[PROPRIOCEPTION] = feature("float32", spec.proprioception_dim)
    if spec.state_names:
        features[STATE] = feature("float32", len(spec.state_names), spec.state_names)
    return {
        "codebase_version": VERSION,
        "robot_type": spec.env_id,
        "total_episodes": len(places),
        "total_frames": places[-1]["dataset_to_index"],
        "total_tasks": 1,
        "chunks_size": CHUNK,
        "data_files_size_in_mb": FILE_BYTES // 2**20,
        "video_files_size_in_mb": FILE_BYTES // 2**20,
        "fps": _fps(spec),
        "splits": {"train": f"0:{len(places)}"},
        "data_path": DATA_PATH,
        "video_path": None,
        "features": features,
    }
