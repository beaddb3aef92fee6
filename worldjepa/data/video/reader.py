"""Read frames of a video file: the public ``read_clip``, and the protocol that every reader follows.

A reader is a class with ``probe`` and ``read``; one instance lives as long as a worker and may keep
what it learnt about a file (its timeline), never the open file itself. All readers give the same
frames: RGB, in display orientation, counted in presentation order.
"""

from __future__ import annotations

import importlib
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float64, UInt8
from torch import Tensor

from worldjepa.data.deadline import UNLIMITED, Deadline

FilePath = str | os.PathLike[str]
Size = int | tuple[int, int] | None

READERS = {
    "auto": ("worldjepa.data.video.reader_auto", "AutoReader"),
    "pyav": ("worldjepa.data.video.reader_pyav", "PyavReader"),
    "decord": ("worldjepa.data.video.reader_decord", "DecordReader"),
    "torchcodec": ("worldjepa.data.video.reader_torchcodec", "TorchcodecReader"),
    "image": ("worldjepa.data.video.reader_image", "ImageReader"),
}


# Larger than any recording (8K has half as many); a damaged header may announce a thousand times as much.
MAX_PIXELS = 8192 * 8192


class BadVideoError(ValueError):
    """The file is damaged, or is no video at all."""


class UnsupportedVideoError(ValueError):
    """The file may be sound, but this reader cannot read it exactly."""


@dataclass(frozen=True, eq=False)
class VideoInfo:
    """What a reader knows about a file before it decodes a clip.

    ``timestamps`` are seconds in presentation order, not decreasing; ``height`` and ``width`` are those
    of the display orientation (rotation metadata applied).
    """

    num_frames: int
    timestamps: Float64[np.ndarray, " f"]
    height: int
    width: int


@runtime_checkable
class Reader(Protocol):
    """One way to get frames out of a file."""

    def probe(self, path: FilePath) -> VideoInfo:
        """Return the timeline and size of ``path``; raises ``BadVideoError``, ``UnsupportedVideoError``."""
        ...

    def read(self, path: FilePath, indices: Sequence[int], size: Size = None) -> UInt8[Tensor, "f c y x"]:
        """Return the frames at ``indices`` (presentation order; any order, repeats allowed)."""
        ...


@runtime_checkable
class FileMemory(Protocol):
    """What earlier runs found out of files, by ``file_key``: a timeline, or what is wrong (``index.py``)."""

    def get(self, key: tuple[str, int, int]) -> Any | None:
        """Return what is known of a file, or None."""
        ...

    def put(self, key: tuple[str, int, int], found: Any) -> None:
        """Keep what was found out of a file."""
        ...


def open_reader(name: str, index: FileMemory | None = None, deadline: Deadline = UNLIMITED) -> Reader:
    """Return a new reader of the kind ``name``: auto, pyav, decord, torchcodec or image.

    ``index``: what is known of the files from earlier runs. ``deadline``: when to give a clip up.

    Raises ``ValueError`` for an unknown name and ``ImportError`` (one line, with the command that
    installs it) when the package behind it is absent.
    """
    if name not in READERS:
        near = get_close_matches(name, READERS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"data.reader={name!r} is unknown{hint} Known readers: {', '.join(READERS)}")
    module, cls = READERS[name]
    made = getattr(importlib.import_module(module), cls)
    return made() if name == "image" else made(index=index, deadline=deadline)


def read_clip(
    path: FilePath, indices: Sequence[int], size: Size = None, reader: str = "pyav"
) -> UInt8[Tensor, "f c y x"]:
    """Read the frames at ``indices`` of a video, RGB, in display orientation.

    ``indices`` count frames in presentation order from 0; they may repeat and need not be sorted.
    ``size``: None keeps the native size, an int is the short side (aspect kept), ``(y, x)`` is exactly
    that. Raises ``BadVideoError`` or ``UnsupportedVideoError`` for the file, ``ValueError`` for indices.
    """
    return open_reader(reader).read(path, indices, size)


def target_size(height: int, width: int, size: Size) -> tuple[int, int]:
    """Return the ``(y, x)`` that ``size`` asks for, given a display size."""
    if size is None:
        return height, width
    if isinstance(size, int):
        if size < 1:
            raise ValueError(f"size={size}: expected a positive number of pixels")
        short = min(height, width)
        return max(1, round(height * size / short)), max(1, round(width * size / short))
    if len(size) != 2 or min(size) < 1:
        raise ValueError(f"size={size}: expected None, the short side as an int, or (y, x), both positive")
    return int(size[0]), int(size[1])


def check_pixels(path: FilePath, height: int, width: int) -> None:
    """Raise ``BadVideoError`` if frames of this size are absurd."""
    if height * width > MAX_PIXELS:
        raise BadVideoError(
            f"{path}: announces frames of {width} x {height} pixels; at most {MAX_PIXELS} pixels are decoded"
        )


def check_indices(path: FilePath, indices: Sequence[int], num_frames: int) -> list[int]:
    """Return ``indices`` as a list of ints; raises ``ValueError`` when one lies outside the video."""
    wanted = [int(i) for i in indices]
    if not wanted:
        raise ValueError(f"{path}: indices is empty; ask for at least one frame")
    outside = [i for i in wanted if not 0 <= i < num_frames]
    if outside:
        raise ValueError(
            f"{path} has {num_frames} frames (0 to {num_frames - 1}); index {outside[0]} lies outside"
        )
    return wanted


def file_key(path: FilePath) -> tuple[str, int, int]:
    """Return what identifies a file's content cheaply: path, size, time of change.

    Raises ``BadVideoError`` for what is no readable regular file (a pipe would block a worker for ever).
    """
    try:
        found = os.stat(path)
    except (OSError, ValueError) as error:
        raise BadVideoError(f"{path}: cannot be read ({_reason(error)})") from error
    if not stat.S_ISREG(found.st_mode):
        raise BadVideoError(f"{path}: is not a regular file")
    if found.st_size == 0:
        raise BadVideoError(f"{path}: is empty (0 bytes)")
    if not os.access(path, os.R_OK):
        raise BadVideoError(f"{path}: cannot be read (Permission denied)")
    return str(Path(path)), found.st_size, found.st_mtime_ns


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
