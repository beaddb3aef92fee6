"""LeRobot v3 folders read as they are, without the ``lerobot`` package (which needs other versions of torch).

Row ``i`` is an observation and what was done there. The last action has no outcome on record: ``n + 1`` rows
make ``n`` environment steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from worldjepa.data.episodes.episode import EpisodeSpec, Excerpt, check_span, placed
from worldjepa.data.episodes.lerobot_layout import (
    ImageColumn,
    LeRobotFolder,
    as_array,
    open_parquet,
    read_columns,
)
from worldjepa.data.video.reader_pyav import PyavReader

PROPRIOCEPTION, STATE = "observation.state", "observation.environment_state"
REWARD, DONE, TERMINATED = "next.reward", "next.done", "next.terminated"


class LeRobotEpisodes:
    """The episodes of a LeRobot v3 folder, behind the protocol ``Episodes``.

    Cameras are its image and video features, ``observation.images.`` left out of their names; proprioception
    is ``observation.state``, the true state ``observation.environment_state``. ``terminated`` is
    ``next.done``, which does not tell a goal from a time limit (``next.terminated``, which we write, does).
    Raises ``ValueError`` for a folder of another version or kind.
    """

    def __init__(self, root: Path | str):
        self.root = Path(root)
        self._folder = folder = LeRobotFolder(self.root)
        self.spec = EpisodeSpec(
            env_id=str(folder.info.get("robot_type") or self.root.name),
            action=folder.action_spec(),
            frame_size=folder.frame_size(next(iter(folder.cameras.values()))),
            cameras=tuple(folder.cameras),
            proprioception_dim=folder.width(PROPRIOCEPTION),
            state_names=folder.names(STATE),
            fps=folder.fps,
        )
        if "spec" in folder.ours:
            self.spec = EpisodeSpec.from_dict(folder.ours["spec"])
        self.lengths = np.array([max(0, place["length"] - 1) for place in folder.places], np.int64)
        # known only where we wrote the folder
        self.seeds: tuple[int | None, ...] = tuple(folder.ours.get("seeds", [None] * len(self.lengths)))
        self._forget()

    def _forget(self) -> None:
        """Drop what was read: a worker reads for itself."""
        self._tables: dict[Path, dict[str, np.ndarray]] = {}
        self._images: dict[tuple[Path, str], ImageColumn] = {}
        self._videos = PyavReader()

    def __getstate__(self):
        read = ("_tables", "_images", "_videos")
        return {name: value for name, value in vars(self).items() if name not in read}

    def __setstate__(self, state):
        self.__dict__.update(state)
        self._forget()

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
        table, first = self._table(episode), self._folder.first_rows[episode]
        steps, observations = slice(first + start, first + stop), slice(first + start, first + stop + 1)
        key = self._folder.cameras[camera or self.spec.cameras[0]]
        frames = self._frames(episode, [first + i for i in frame_ids], key)
        return Excerpt(
            placed(frames, out),
            table["action"][steps],
            table[REWARD][steps],
            table[TERMINATED][steps],
            table[PROPRIOCEPTION][observations] if self.spec.proprioception_dim else None,
            table[STATE][observations] if self.spec.state_names else None,
        )

    def _table(self, episode: int) -> dict[str, np.ndarray]:
        """Return the numbers in the file that an episode lies in."""
        path = self._folder.data_path(episode)
        if path not in self._tables:
            self._tables[path] = self._read_table(path)
        return self._tables[path]

    def _read_table(self, path: Path) -> dict[str, np.ndarray]:
        there = set(open_parquet(path).schema_arrow.names)
        needed = ["action", "timestamp", *(k for k in (PROPRIOCEPTION, STATE) if k in self._folder.features)]
        table = read_columns(path, needed + [k for k in (REWARD, DONE, TERMINATED) if k in there])
        found = {name: as_array(table[name]) for name in table.column_names}
        rows, action = len(table), self.spec.action
        none = np.zeros(rows)
        ended = found.get(TERMINATED, found.get(DONE, none))
        vectors = {k: found[k].reshape(rows, -1).astype(np.float32) for k in needed[2:]}
        return vectors | {
            "action": action.from_env(found["action"].reshape(rows, *action.shape)),
            "timestamp": found["timestamp"].reshape(rows).astype(np.float64),
            REWARD: found.get(REWARD, none).reshape(rows).astype(np.float32),
            TERMINATED: ended.reshape(rows).astype(np.bool_),
        }

    def _frames(self, episode: int, rows: list[int], key: str) -> UInt8[np.ndarray, "f c y x"]:
        if not rows:
            return np.zeros((0, 3, *self._folder.frame_size(key)), np.uint8)
        if self._folder.features[key]["dtype"] == "video":
            return self._video_frames(episode, rows, key)
        place = self._folder.data_path(episode), key
        if place not in self._images:
            self._images[place] = ImageColumn(*place)
        pictures = {row: self._images[place].picture(row, self.root) for row in set(rows)}
        return np.moveaxis(np.stack([pictures[row] for row in rows]), -1, 1)

    def _video_frames(self, episode: int, rows: list[int], key: str) -> UInt8[np.ndarray, "f c y x"]:
        """Return the frames shown at the rows' times, counted from where the episode begins in the mp4."""
        path = self._folder.video_path(episode, key)
        wanted = self._table(episode)["timestamp"][rows]
        wanted = wanted + self._folder.places[episode][f"videos/{key}/from_timestamp"]
        shown = self._videos.probe(path).timestamps
        between = (shown[1:] + shown[:-1]) / 2
        nearest = np.searchsorted(between, wanted)
        off = np.abs(shown[nearest] - wanted)
        if off.max() > 0.5 / self._folder.fps:
            raise ValueError(
                f"{path} shows nothing at {wanted[off.argmax()]:.3f} s, where episode {episode} has a row; "
                f"the nearest frame is {off.max():.3f} s away"
            )
        return self._videos.read(path, nearest.tolist()).numpy()
