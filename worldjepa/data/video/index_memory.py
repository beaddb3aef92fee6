"""The index as training uses it: read and extended on the way, and never a reason to stop."""

from __future__ import annotations

import logging
import os
import time
from functools import cache
from pathlib import Path
from typing import Any

from worldjepa.data.video.index import Found, IndexFileError, Key, VideoIndex

log = logging.getLogger(__name__)

_BATCH, _AGE_S = 32, 5.0  # rows are written together: a commit waits for the disk


@cache
def index_memory(path: Path, root: str) -> IndexMemory:
    """Return this process's memory of an index: one for all loaders, so that what is wrong is said once."""
    return IndexMemory(path, root)


class IndexMemory:
    """What a reader asks before it looks at a file, and tells after. Open in each process by itself.

    An index that cannot be written is only read; one that cannot be read is done without. Either is said
    once, by the process that makes this object.
    """

    def __init__(self, path: Path, root: str | os.PathLike[str]):
        self._path, self._root = Path(path), os.fspath(root)
        self._index: VideoIndex | None = None
        self._owner = 0
        self._learnt: list[tuple[Key, Found]] = []
        self._written = time.monotonic()
        self._writable = self._readable = True
        try:
            VideoIndex(self._path, self._root).close()
        except IndexFileError as error:
            self._writable = False
            self._readable = self._can_be_read()
            use = "it is read, but not extended" if self._readable else "training goes on without"
            log.warning("no index is kept of %s: %s; %s", self._root, error, use)

    def get(self, key: Key) -> Found | None:
        """Return what is known of a file, or None."""
        try:
            index = self._opened()
            self._flush_if_due()
            return None if index is None else index.get(key)
        except (IndexFileError, ValueError):  # unreadable, or a row of it is damaged
            self._readable = False
            return None

    def put(self, key: Key, found: Found) -> None:
        """Take note of what was found out; written a few at a time."""
        if self._writable and self._readable:
            self._learnt.append((key, found))
            self._flush_if_due()

    def flush(self) -> None:
        """Write what was learnt."""
        learnt, self._learnt, self._written = self._learnt, [], time.monotonic()
        try:
            index = self._opened()
            if index is not None and learnt:
                index.put(learnt)
        except IndexFileError:
            self._writable = False

    def _flush_if_due(self) -> None:
        if len(self._learnt) >= _BATCH or (self._learnt and time.monotonic() > self._written + _AGE_S):
            self.flush()

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_index": None, "_owner": 0, "_learnt": []}

    def _opened(self) -> VideoIndex | None:
        if self._owner != os.getpid():  # made before a fork, what it holds is the other process's
            self._learnt = [] if self._owner else self._learnt
            self._owner, self._index = os.getpid(), None
            if self._readable:
                self._index = VideoIndex(self._path, self._root, writable=self._writable)
        return self._index if self._readable and self._index is not None and self._index.usable else None

    def _can_be_read(self) -> bool:
        try:
            VideoIndex(self._path, self._root, writable=False).close()
        except IndexFileError:
            return False
        return True
