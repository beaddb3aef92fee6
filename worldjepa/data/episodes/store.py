"""Stores of episodes: our own, and whichever lies in a folder.

store = EpisodeStore.create(root, spec)
store.append(episode)
episodes = open_episodes(root)  # ours, Minari or LeRobot
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int64, UInt8

from worldjepa.artifact import write_file
from worldjepa.data.episodes.episode import Episode, Episodes, EpisodeSpec, Excerpt, check_span, checked_parts
from worldjepa.data.episodes.episode_file import EpisodeFile, TornEpisodeError, write_episode_file

__all__ = [
    "Episode",
    "EpisodeSpec",
    "EpisodeStore",
    "Episodes",
    "Excerpt",
    "TornEpisodeError",
    "action_statistics",
    "open_episodes",
    "split_episodes",
]

logger = logging.getLogger(__name__)

STORE, INDEX, FOLDER, FORMAT = "store.json", "index.jsonl", "episodes", 1
MAX_MAPPED = 16384  # files mapped at a time; Linux allows a process 65,530 maps
_FILE_NAME = re.compile(r"episode_(\d{6})\.safetensors")


@dataclass(frozen=True)
class _Entry:
    """What opening a store has to know of an episode; of one that is missing or torn, nothing."""

    bytes: int = 0
    steps: int = 0
    seed: int | None = None
    success: bool | None = None


class EpisodeStore:
    """Our own store: ``store.json`` (the spec), one file an episode, and an index that is only a cache.

    Episode ``i`` is ``episodes/episode_<i>.safetensors``. A missing or torn file is an episode of length 0,
    its reason in ``torn``: numbers never shift. ``index.jsonl`` repeats, a line an episode,
    what opening needs to know; what it lacks, or what has another size by now, is read from the files.
    """

    def __init__(self, root: Path | str, spec: EpisodeSpec, entries: list[_Entry], torn: dict[int, str]):
        self.root, self.spec, self.torn = Path(root), spec, torn
        self._entries = entries
        self._lengths = np.zeros(0, np.int64)
        self._known: OrderedDict[int, EpisodeFile] = OrderedDict()

    @classmethod
    def create(cls, root: Path | str, spec: EpisodeSpec) -> EpisodeStore:
        """Make an empty store; raises ``ValueError`` where there is one, or for a spec of no sense."""
        root = Path(root)
        if (root / STORE).exists():
            raise ValueError(
                f"{root} holds an episode store already; open it to append, or choose another root"
            )
        if not spec.cameras or min(spec.frame_size) < 1 or len(set(spec.cameras)) < len(spec.cameras):
            raise ValueError(
                f"expected cameras of different names and a frame size of at least 1 x 1, got {spec.cameras} "
                f"at {spec.frame_size}"
            )
        (root / FOLDER).mkdir(parents=True, exist_ok=True)
        write_file(root / STORE, json.dumps({"format": FORMAT, "spec": spec.to_dict()}, indent=2) + "\n")
        return cls.open(root)

    @classmethod
    def open(cls, root: Path | str) -> EpisodeStore:
        """Open a store to read or append; raises ``ValueError`` where there is none or of another format."""
        root = Path(root)
        try:
            stored = json.loads((root / STORE).read_text(encoding="utf-8"))
            version, values = stored["format"], stored["spec"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{root} holds no episode store of ours: {STORE} cannot be read ({error!r})"
            ) from error
        if version != FORMAT:
            raise ValueError(f"{root} has format {version}; this version of worldjepa reads format {FORMAT}")
        entries, torn = _survey(root)
        for number, reason in torn.items():
            logger.warning("passing over episode %d: %s", number, reason)
        return cls(root, EpisodeSpec.from_dict(values), entries, torn)

    @property
    def lengths(self) -> Int64[np.ndarray, " episodes"]:
        """Environment steps of each episode; 0 for one that is missing or torn."""
        if len(self._lengths) != len(self._entries):
            self._lengths = np.array([entry.steps for entry in self._entries], np.int64)
        return self._lengths

    @property
    def seeds(self) -> tuple[int | None, ...]:
        """The seed each episode was reset with; None for one that is missing or torn."""
        return tuple(entry.seed for entry in self._entries)

    @property
    def successes(self) -> tuple[bool | None, ...]:
        """Whether each episode reached its goal, where the environment said so."""
        return tuple(entry.success for entry in self._entries)

    def append(self, episode: Episode) -> int:
        """Add an episode, whole and on the disk when this returns; return its number.

        Raises ``ValueError`` for an episode that does not fit the spec or holds numbers that are not finite.
        """
        arrays, images = checked_parts(episode, self.spec)
        number = len(self._entries)
        about = {
            "seed": int(episode.seed),
            "success": None if episode.success is None else bool(episode.success),
            "terminated": bool(episode.terminated),
            "truncated": bool(episode.truncated),
        }
        path = _path(self.root, number)
        size = write_episode_file(path, arrays, images, about)
        entry = _Entry(size, len(arrays["actions"]), about["seed"], about["success"])
        with (self.root / INDEX).open("a", encoding="utf-8") as index:
            index.write(_line(number, entry))
        self._entries.append(entry)
        return number

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
        steps = check_span(self, episode, frame_ids, start, stop, camera)
        file, spec = self._file(episode), self.spec
        terminated = np.zeros(stop - start, np.bool_)
        if start < stop == steps:
            terminated[-1] = file.about["terminated"]
        return Excerpt(
            file.images(f"frames.{camera or spec.cameras[0]}", frame_ids, out),
            file.array("actions")[start:stop],
            file.array("rewards")[start:stop],
            terminated,
            file.array("proprioception")[start : stop + 1] if spec.proprioception_dim else None,
            file.array("state")[start : stop + 1] if spec.state_names else None,
        )

    def __getstate__(self):
        return vars(self) | {"_known": OrderedDict()}  # mapped memory stays in this process

    def _file(self, episode: int) -> EpisodeFile:
        file = self._known.get(episode)
        if file is None:
            file = self._known[episode] = EpisodeFile(_path(self.root, episode))
            if len(self._known) > MAX_MAPPED:
                self._known.popitem(last=False)
        return file


def _path(root: Path, number: int) -> Path:
    return root / FOLDER / f"episode_{number:06d}.safetensors"


def _survey(root: Path) -> tuple[list[_Entry], dict[int, str]]:
    """Return what the episode files hold, from the index where it agrees with them, and which are torn."""
    sizes, torn = {}, {}
    for found in os.scandir(root / FOLDER):
        match = _FILE_NAME.fullmatch(found.name)
        if match:
            sizes[int(match[1])] = found.stat().st_size
        elif not found.name.endswith(".staging"):
            logger.warning("passing over %s: it is no episode of ours", found.path)
    indexed = _read_index(root)
    known = {number: entry for number, entry in indexed.items() if sizes.get(number) == entry.bytes}
    for number in sorted(sizes.keys() - known.keys()):
        try:
            known[number] = _entry(EpisodeFile(_path(root, number)), sizes[number])
        except TornEpisodeError as error:
            torn[number] = str(error)
    if known != indexed:
        lines = "".join(_line(number, known[number]) for number in sorted(known))
        try:
            write_file(root / INDEX, lines)
        except OSError as error:  # a store on a disk that cannot be written is read all the same
            logger.info("the index of %s could not be renewed (%s)", root, error)
    count = max(sizes, default=-1) + 1
    return [known.get(number, _Entry()) for number in range(count)], torn


def _entry(file: EpisodeFile, size: int) -> _Entry:
    try:
        return _Entry(size, len(file.array("actions")), file.about["seed"], file.about["success"])
    except KeyError as error:
        raise TornEpisodeError(f"{file.path} says nothing of {error}") from error


def _line(number: int, entry: _Entry) -> str:
    return json.dumps({"episode": number} | asdict(entry)) + "\n"


def _read_index(root: Path) -> dict[int, _Entry]:
    """Return what the index says; lines that cannot be read (a killed writer's last) are left out."""
    try:
        lines = (root / INDEX).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeError):
        return {}
    entries = {}
    for line in lines:
        try:
            values = json.loads(line)
            number = int(values.pop("episode"))
            entries[number] = _Entry(**values)
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
    return entries


def split_episodes(episodes: Episodes) -> tuple[list[int], list[int]]:
    """Return the episodes to train on and those held out: numbers 9, 19, 29, ... (of 2 to 9, the last)."""
    whole = np.flatnonzero(episodes.lengths).tolist()
    held = [i for i in whole if i % 10 == 9] or whole[1:][-1:]
    return sorted(set(whole) - set(held)), held


def action_statistics(
    episodes: Episodes, ids: Sequence[int]
) -> tuple[Float32[np.ndarray, " a"], Float32[np.ndarray, " a"]]:
    """Return mean and standard deviation of each dimension of an environment step's action over ``ids``."""
    count, total, squares = 0, np.zeros(episodes.spec.action.dim), np.zeros(episodes.spec.action.dim)
    for i in ids:
        actions = episodes.read(i, (), 0, int(episodes.lengths[i])).actions.astype(np.float64)
        count, total, squares = count + len(actions), total + actions.sum(0), squares + (actions**2).sum(0)
    if not count:
        raise ValueError(f"{episodes.root}: no steps in the {len(ids)} episodes given")
    mean = total / count
    deviation = np.sqrt(np.maximum(squares / count - mean**2, 0.0))
    return mean.astype(np.float32), deviation.astype(np.float32)


def open_episodes(root: Path | str, layout: str = "auto") -> Episodes:
    """Open recorded episodes: ours (``episodes``), ``minari`` or ``lerobot`` (v3), by what the folder holds.

    Raises ``ValueError`` where there are none, and for versions and layouts that are not read.
    """
    from worldjepa.data.episodes.lerobot import LeRobotEpisodes
    from worldjepa.data.episodes.minari import MinariEpisodes

    root = Path(root)
    signs = {"episodes": root / STORE, "lerobot": root / "meta" / "info.json", "minari": root / "data"}
    if layout == "auto":
        layout = next((name for name, sign in signs.items() if sign.exists()), "")
    openers = {"episodes": EpisodeStore.open, "minari": MinariEpisodes, "lerobot": LeRobotEpisodes}
    if layout not in openers:
        raise ValueError(
            f"no episodes found in {root} (data.layout={layout or 'auto'}): expected {STORE} (ours), "
            "meta/info.json (LeRobot v3) or data/metadata.json (Minari); data.layout is auto, episodes, "
            "minari or lerobot"
        )
    return openers[layout](root)
