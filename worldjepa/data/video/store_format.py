"""What a prepared store looks like on disk.

    <store>/settings.json       how it is made, and of which files; there from the beginning
    <store>/shard-00000.bin     records, one after the other: a video each, in the order of the list
    <store>/videos.jsonl        a line a video: where its record is, its class and part
    <store>/manifest.json       sizes and sha256 sums of all that, and figures; written last

A record is its head (magic, lengths), a block of facts and arrays (``index_arrays.py``) and the payload. Of
an encoded video the payload is its packets, H.264 without B-frames and with a keyframe every ``gop`` frames;
the arrays are the size of each packet, the original timestamp of each frame, and a check sum of each group of
``gop`` packets. Raw, the payload is the frames ``[f c y x]`` and the groups are frames. The record of a bad
file has its reason and no payload: nothing is dropped in silence. Shards need nothing else to be read, so
that a writer that was killed goes on after the last whole record.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from worldjepa.data.video.reader import BadVideoError

MANIFEST, SETTINGS, VIDEOS = "manifest.json", "settings.json", "videos.jsonl"
VERSION = 1
_MAGIC = b"WJS1"
HEAD = struct.Struct("<4sIQ")  # magic, bytes of the block, bytes of the payload


class StoreError(ValueError):
    """The folder is no store, or one that is not finished."""


class UnfinishedStoreError(StoreError):
    """What is written last is missing or damaged; preparing it again writes that anew from the shards."""


class DamagedStoreError(BadVideoError):
    """What was read from a shard is not what was written to it."""


class StoredVideo(NamedTuple):
    """A line of ``videos.jsonl``. ``label``: its class if known; ``reason``: what is wrong with a bad one."""

    name: str
    label: str | None
    part: str
    shard: int
    offset: int
    block: int
    payload: int
    reason: str | None


@dataclass(frozen=True)
class Place:
    """Where a record lies in its shard."""

    offset: int
    block: int
    payload: int

    @property
    def end(self) -> int:
        """Where the next one begins."""
        return self.offset + HEAD.size + self.block + self.payload


def is_store(root: str | os.PathLike[str]) -> bool:
    """Tell whether ``root`` is the folder of a prepared store, finished or not."""
    path = Path(root) / SETTINGS
    try:
        return path.is_file() and "prepared_store" in json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False


def shard_name(number: int) -> str:
    """Return the name of a finished shard."""
    return f"shard-{number:05d}.bin"


def walk_records(file: BinaryIO) -> Iterator[tuple[Place, bytes]]:
    """Yield place and block of each whole record of a shard, up to its end or the first torn one."""
    size = os.fstat(file.fileno()).st_size
    offset = 0
    while offset + HEAD.size <= size:
        file.seek(offset)
        magic, block, payload = HEAD.unpack(file.read(HEAD.size))
        place = Place(offset, block, payload)
        if magic != _MAGIC or place.end > size:
            return
        yield place, file.read(block)
        offset = place.end


def record(block: bytes, payload: bytes) -> bytes:
    """Return a record."""
    return HEAD.pack(_MAGIC, len(block), len(payload)) + block + payload


class StoreFolder:
    """A finished store: its manifest, and its videos by name.

    Raises ``UnfinishedStoreError`` for one that is not finished, or whose lists are damaged, and
    ``StoreError`` for one of another version.
    """

    def __init__(self, root: str | os.PathLike[str]):
        self.root = Path(root)
        try:
            self.manifest: dict[str, Any] = json.loads((self.root / MANIFEST).read_text(encoding="utf-8"))
            version = self.manifest["prepared_store"]
        except FileNotFoundError as error:
            raise UnfinishedStoreError(
                f"{self.root} is a prepared store that is not finished; give the command that began it again"
            ) from error
        except (ValueError, LookupError, TypeError) as error:
            raise _damaged(self.root / MANIFEST, str(error)) from error
        if version != VERSION:
            raise StoreError(
                f"{self.root} was prepared by another version of worldjepa (format {version}, expected "
                f"{VERSION}); prepare it anew, in another folder"
            )
        try:
            lines = (self.root / VIDEOS).read_text(encoding="ascii").splitlines()
            videos = [StoredVideo(*json.loads(line)) for line in lines]
        except FileNotFoundError as error:
            raise _damaged(self.root / VIDEOS, "it is missing") from error
        except (ValueError, TypeError) as error:
            raise _damaged(self.root / VIDEOS, str(error)) from error
        self.videos = {video.name: video for video in videos}

    @property
    def raw(self) -> bool:
        """Whether frames are kept as they are."""
        return self.manifest["settings"]["raw"]

    @property
    def shards(self) -> list[dict[str, Any]]:
        """Name, bytes and sha256 sum of each shard."""
        return self.manifest["shards"]


def _damaged(path: Path, reason: str) -> UnfinishedStoreError:
    return UnfinishedStoreError(
        f"{path} is damaged ({reason}); prepare it anew: give the command that made the store again"
    )
