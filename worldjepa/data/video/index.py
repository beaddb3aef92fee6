"""What is known of the files of a corpus, kept between runs: their timelines, and what is wrong with them.

One SQLite file a corpus, a row a file, in the cache folder unless it is named. A row holds while the file's
size and time of change are the same. It is only memory: without it everything is found out anew.
"""

from __future__ import annotations

import dataclasses
import fcntl
import hashlib
import json
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np

from worldjepa.data.cache import cache_folder
from worldjepa.data.video.index_arrays import pack, unpack
from worldjepa.data.video.reader import BadVideoError, UnsupportedVideoError
from worldjepa.data.video.timeline import Timeline

Key = tuple[str, int, int]  # of ``file_key``: path, size, time of change
Found = Timeline | BadVideoError | UnsupportedVideoError
VERDICTS: dict[str, type[BadVideoError] | type[UnsupportedVideoError]] = {
    "bad": BadVideoError,
    "unsupported": UnsupportedVideoError,
}
# A row is what this code and FFmpeg made of a file: raise it when timelines or verdicts change.
VERSION = 2
_TABLES = """
CREATE TABLE about (fact TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
CREATE TABLE file (
    path BLOB PRIMARY KEY, bytes INTEGER, mtime_ns INTEGER, verdict TEXT, reason TEXT,
    codec TEXT, container TEXT, frames INTEGER, seconds REAL, rate REAL,
    height INTEGER, width INTEGER, keyframes INTEGER, timeline BLOB
);
"""
_COLUMNS = (
    *("path", "bytes", "mtime_ns", "verdict", "reason", "codec", "container"),
    *("frames", "seconds", "rate", "height", "width", "keyframes", "timeline"),
)
_WAIT_S = 30.0  # for another process that is writing


class IndexFileError(OSError):
    """The index cannot be read or written."""


@dataclass(frozen=True)
class Row:
    """What the index says of a file, less its timeline. ``verdict`` is empty for a good one."""

    bytes: int
    verdict: str
    reason: str
    codec: str
    container: str
    frames: int
    seconds: float
    rate: float
    height: int
    width: int
    keyframes: int


def index_path(root: str | os.PathLike[str], setting: str | None = None) -> Path:
    """Return where the index of the corpus at ``root`` is: ``setting`` (``data.index``), or in the cache."""
    if setting is not None:
        return Path(setting)
    resolved = os.fsencode(os.path.realpath(root))
    return cache_folder() / f"index-{hashlib.sha256(resolved).hexdigest()[:16]}.sqlite"


@contextmanager
def index_lock(path: Path) -> Iterator[None]:
    """Keep a second scan out; raises ``IndexFileError`` if there is one. Training needs no lock."""
    with _refusals(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise IndexFileError(f"{path} is extended by another process just now; wait for it") from error
    else:
        yield
    finally:
        os.close(handle)


class VideoIndex:
    """An open index file. ``root``: the folder from which its paths count.

    Rows made by another version of this code or of FFmpeg are dropped when it is opened for writing, and
    count as none otherwise. Everything raises ``IndexFileError`` where the file cannot be used. Several
    processes may have it open; a connection belongs to the process that opened it.
    """

    def __init__(self, path: Path, root: str | os.PathLike[str], *, writable: bool = True):
        self.path = Path(path)
        self._root = os.path.join(os.path.abspath(root), "")
        with _refusals(self.path):
            if writable:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            mode = "rwc" if writable else "ro"
            uri = f"{self.path.absolute().as_uri()}?mode={mode}"
            self._db = sqlite3.connect(uri, uri=True, timeout=_WAIT_S, isolation_level=None)
            if writable:
                with self._db:
                    self._begin()
            self.usable = self._facts() == self._about()

    def get(self, key: Key) -> Found | None:
        """Return what is known of a file, or None."""
        with _refusals(self.path):
            row = self._db.execute(
                "SELECT verdict, reason, timeline FROM file WHERE path=? AND bytes=? AND mtime_ns=?",
                (self.name(key[0]), *key[1:]),
            ).fetchone()
        if row is None:
            return None
        verdict, reason, blob = row
        return VERDICTS[verdict](f"{key[0]}: {reason}") if verdict else _read_timeline(blob)

    def put(self, learnt: Sequence[tuple[Key, Found]]) -> None:
        """Keep what was found out about files, all of it or nothing."""
        rows = [(self.name(key[0]), *key[1:], *_values(key[0], found)) for key, found in learnt]
        marks = ",".join("?" * len(_COLUMNS))
        with _refusals(self.path), self._db:  # leaving it commits, or rolls back after an error
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany(f"INSERT OR REPLACE INTO file VALUES ({marks})", rows)

    def known(self) -> dict[bytes, tuple[int, int]]:
        """Return size and time of change by name (``name``) of the files that have a row."""
        with _refusals(self.path):
            rows = self._db.execute("SELECT path, bytes, mtime_ns FROM file").fetchall()
        return {name: (size, time) for name, size, time in rows}

    def rows(self) -> Iterator[tuple[bytes, Row]]:
        """Yield name and facts of every file that has a row, by name."""
        names = ", ".join(field.name for field in dataclasses.fields(Row))
        with _refusals(self.path):
            for name, *values in self._db.execute(f"SELECT path, {names} FROM file ORDER BY path"):
                yield name, Row(*values)

    def name(self, path: str) -> bytes:
        """Return the name under which a file is kept: its path below the root, in the disk's own bytes."""
        return os.fsencode(os.path.abspath(path).removeprefix(self._root))

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def __enter__(self) -> VideoIndex:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _begin(self) -> None:
        """Make the tables where there are none; drop the rows of another version."""
        self._db.execute("BEGIN IMMEDIATE")
        tables = {name for (name,) in self._db.execute("SELECT name FROM sqlite_master WHERE type='table'")}
        if not tables:
            for statement in filter(str.strip, _TABLES.split(";")):
                self._db.execute(statement)
        elif not tables >= {"about", "file"}:
            raise IndexFileError(f"{self.path} is a database of something else; {_ADVICE}")
        elif self._facts() != self._about():
            self._db.execute("DELETE FROM file")
        self._db.executemany("INSERT OR REPLACE INTO about VALUES (?, ?)", sorted(self._about().items()))

    def _about(self) -> dict[str, str]:
        fields = ",".join(field.name for field in dataclasses.fields(Timeline))
        libraries = json.dumps([av.library_versions[name] for name in ("libavformat", "libavcodec")])
        return {"version": str(VERSION), "fields": fields, "libraries": libraries}

    def _facts(self) -> dict[str, str]:
        return dict(self._db.execute("SELECT fact, value FROM about").fetchall())


_ADVICE = "delete it to begin anew, or name another with data.index=FILE"


@contextmanager
def _refusals(path: Path) -> Iterator[None]:
    """Turn what SQLite and the disk say into one line."""
    try:
        yield
    except IndexFileError:
        raise
    except sqlite3.OperationalError as error:  # locked, read-only, not there
        raise IndexFileError(_unusable(path, str(error))) from error
    except sqlite3.Error as error:
        raise IndexFileError(f"{path} is damaged or no index ({error}); {_ADVICE}") from error
    except OSError as error:
        raise IndexFileError(_unusable(path, error.strerror or str(error))) from error


def _unusable(path: Path, said: str) -> str:
    return f"{path} cannot be read and written ({said}); name another file with data.index=FILE"


def _values(path: str, found: Found) -> tuple[Any, ...]:
    """Return the columns of a row after path, size and time."""
    if not isinstance(found, Timeline):
        verdict = next(word for word, kind in VERDICTS.items() if isinstance(found, kind))
        return (verdict, str(found).removeprefix(f"{path}: "), "", "", 0, 0.0, 0.0, 0, 0, 0, b"")
    count = len(found.seconds)
    step = float(found.seconds[-1] - found.seconds[0]) / max(1, count - 1)
    facts = (count, count * step, 1 / step if step > 0 else 0.0, *found.display_size, len(found.key_pts))
    codec = av.Codec(found.codec, "r").canonical_name  # of the stream, whichever decoder reads it
    return ("", "", codec, found.container, *facts, _write_timeline(found))


def _write_timeline(timeline: Timeline) -> bytes:
    values = vars(timeline)
    arrays = {name: value for name, value in values.items() if isinstance(value, np.ndarray)}
    return pack({name: value for name, value in values.items() if name not in arrays}, arrays)


def _read_timeline(blob: bytes) -> Timeline:
    facts, arrays = unpack(blob)
    values: dict[str, Any] = facts | arrays
    return Timeline(**values)
