"""The reader that tries others: PyAV, and what that does not support with those that are installed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from jaxtyping import UInt8
from torch import Tensor

from worldjepa.data.deadline import UNLIMITED, Deadline
from worldjepa.data.video.reader import (
    FileMemory,
    FilePath,
    Reader,
    Size,
    UnsupportedVideoError,
    VideoInfo,
    open_reader,
)

ORDER = ("pyav", "torchcodec", "decord")
T = TypeVar("T")


class AutoReader:
    """Reads with the first of ``ORDER`` that supports a file. That a file is bad is final."""

    def __init__(self, index: FileMemory | None = None, deadline: Deadline = UNLIMITED):
        self._index, self._deadline = index, deadline
        self._readers: dict[str, Reader | None] = {}

    def probe(self, path: FilePath) -> VideoInfo:
        """Return the timeline and display size of ``path``."""
        return self._first(lambda reader: reader.probe(path))

    def read(self, path: FilePath, indices: Sequence[int], size: Size = None) -> UInt8[Tensor, "f c y x"]:
        """Return the frames at ``indices``."""
        return self._first(lambda reader: reader.read(path, indices, size))

    def _first(self, ask: Callable[[Reader], T]) -> T:
        refusals: list[str] = []
        for name in ORDER:
            reader = self._opened(name)
            if reader is None:
                continue
            try:
                return ask(reader)
            except UnsupportedVideoError as error:
                refusals.append(str(error))
        raise UnsupportedVideoError("; ".join(dict.fromkeys(refusals)))

    def _opened(self, name: str) -> Reader | None:
        """Return a reader, made when it is first needed; None if it is not installed."""
        if name not in self._readers:
            try:
                self._readers[name] = open_reader(name, self._index, self._deadline)
            except ImportError:
                self._readers[name] = None
        return self._readers[name]
