"""Write a prepared store, from where it stands: records in the order of the list, in bounded shards."""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from worldjepa.artifact import write_file
from worldjepa.data.job_pool import Lost, run_jobs
from worldjepa.data.video.index_arrays import unpack
from worldjepa.data.video.store_encoder import Order, Recipe, bad_record, store_video
from worldjepa.data.video.store_format import (
    MANIFEST,
    SETTINGS,
    VERSION,
    VIDEOS,
    Place,
    StoredVideo,
    StoreError,
    StoreFolder,
    UnfinishedStoreError,
    is_store,
    shard_name,
    walk_records,
)

PARTIAL = "shard.partial"


@dataclass(frozen=True)
class SourceVideo:
    """A file to be stored: where it is, its name in the store, its class if known, its part."""

    path: str
    name: str
    label: str | None
    part: str


@dataclass
class StoreFigures:
    """What a finished store holds. ``lowered``: videos whose quality was lowered to stay within the bytes;
    ``larger``: those that are larger than allowed nevertheless.
    """

    videos: int = 0
    bad: int = 0
    frames: int = 0
    source_bytes: int = 0
    bytes: int = 0
    lowered: int = 0
    larger: int = 0
    crf: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=dict)


def prepare_store(
    videos: Sequence[SourceVideo],
    out: Path,
    recipe: Recipe,
    *,
    shard_bytes: int,
    processes: int,
    timeout_s: float,
    progress: Callable[[int], None] = lambda done: None,
) -> StoreFigures:
    """Write the store of ``videos`` into ``out``, or what is missing of it; return what it holds.

    The bytes are the same however often the writing was interrupted and whatever ``processes`` are.
    Raises ``StoreError`` if ``out`` holds something else, was begun with other settings or files, or has a
    damaged shard.
    """
    settings = asdict(recipe) | {"shard_bytes": shard_bytes}
    _begin(out, settings, videos)
    if not _is_finished(out):
        with _Shards(out, shard_bytes) as shards:
            progress(shards.records)
            left = [Order(v.path, _facts(v), recipe) for v in videos[shards.records :]]
            written = run_jobs(
                f"{store_video.__module__}:{store_video.__name__}",
                left,
                processes=processes,
                timeout_s=timeout_s,
                ahead=2 * processes,
            )
            for order, answer in zip(left, written, strict=True):
                shards.append(bad_record(order, answer.reason) if isinstance(answer, Lost) else answer)
                progress(shards.records)
        _finish(out, settings)
    return StoreFigures(**json.loads((out / MANIFEST).read_text(encoding="utf-8"))["figures"])


def verify_store(out: Path) -> list[str]:
    """Return what is wrong with the files of a finished store, one line each; empty if all is well."""
    manifest = json.loads((out / MANIFEST).read_text(encoding="utf-8"))
    wrong = []
    for entry in [*manifest["shards"], *manifest["files"]]:
        path = out / entry["name"]
        if not path.exists():
            wrong.append(f"{path} is missing")
        elif path.stat().st_size != entry["bytes"]:
            wrong.append(f"{path} has {path.stat().st_size} bytes, {entry['bytes']} were written")
        elif _sha256(path) != entry["sha256"]:
            wrong.append(f"{path} is not what was written: its sha256 sum is another")
    return wrong


class _Shards:
    """The shards so far. The last one grows under a name of its own until it is full."""

    def __init__(self, out: Path, shard_bytes: int):
        self._out, self._shard_bytes = out, shard_bytes
        self._number = self.records = 0
        while (finished := out / shard_name(self._number)).exists():
            with open(finished, "rb") as file:
                places = [place for place, _ in walk_records(file)]
            if not places or places[-1].end != finished.stat().st_size:
                raise StoreError(f"{finished} is damaged; delete {out} and give the same command again")
            self.records += len(places)
            self._number += 1
        self._file = open(out / PARTIAL, "a+b")  # noqa: SIM115 (closed by __exit__)
        self._file.truncate(self._count_sound())

    def append(self, record: bytes) -> None:
        """Add a record; a shard that is full gets its name."""
        self._file.write(record)
        self._file.flush()
        self.records += 1
        if self._file.tell() >= self._shard_bytes:
            self._close_shard()
            self._file = open(self._out / PARTIAL, "a+b")  # noqa: SIM115

    def __enter__(self) -> _Shards:
        return self

    def __exit__(self, kind: object, *exception: object) -> None:
        if kind is None and self._file.tell():
            self._close_shard()
        self._file.close()
        if kind is None:
            (self._out / PARTIAL).unlink(missing_ok=True)

    def _close_shard(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        os.replace(self._out / PARTIAL, self._out / shard_name(self._number))
        self._number += 1

    def _count_sound(self) -> int:
        """Count the records that a writer before us left whole; return where they end."""
        end = 0
        for place, block in walk_records(self._file):
            if not _is_sound(self._file, place, block):
                break
            end = place.end
            self.records += 1
        self._file.seek(0, os.SEEK_END)
        return end


def _is_sound(file: BinaryIO, place: Place, block: bytes) -> bool:
    """Tell whether the payload is what its sums say: after a power cut, files may hold zeros."""
    try:
        facts, arrays = unpack(block)
    except ValueError:
        return False
    if not place.payload:
        return "reason" in facts
    file.seek(place.end - place.payload)
    sizes = arrays.get("sizes")
    if sizes is None:
        groups = [place.payload // len(arrays["sums"])] * len(arrays["sums"])
    else:
        groups = [int(sizes[i : i + facts["gop"]].sum()) for i in range(0, len(sizes), facts["gop"])]
    return all(zlib.crc32(file.read(n)) == check for n, check in zip(groups, arrays["sums"], strict=True))


def _begin(out: Path, settings: dict[str, Any], videos: Sequence[SourceVideo]) -> None:
    """Write what the store is made of and how, or compare it with what stands there."""
    listed = hashlib.sha256("\n".join(json.dumps(_facts(video)) for video in videos).encode()).hexdigest()
    path = out / SETTINGS
    if not is_store(out):
        others = [entry.name for entry in out.iterdir() if entry.name != "lock"]
        if others:
            raise StoreError(f"out={out} holds other files ({others[0]}, ...); name a new folder")
        begun = {"prepared_store": VERSION, "settings": settings, "files": listed}
        write_file(path, json.dumps(begun, indent=1) + "\n")
        return
    begun = json.loads(path.read_text(encoding="utf-8"))
    for name, value in begun["settings"].items():
        if settings.get(name) != value:
            raise StoreError(
                f"out={out} was begun with {name}={value}, not {settings.get(name)}; keep to it, or name "
                "another folder"
            )
    if begun["files"] != listed:
        raise StoreError(
            f"out={out} was begun with another list of files than data.root has now; name another folder"
        )


def _is_finished(out: Path) -> bool:
    try:
        StoreFolder(out)
    except UnfinishedStoreError:
        return False
    return True


def _finish(out: Path, settings: dict[str, Any]) -> None:
    """Write where everything is, then the sums of all that."""
    figures = StoreFigures()
    shards: list[dict[str, Any]] = []
    lines = []
    while (path := out / shard_name(len(shards))).exists():
        with open(path, "rb") as file:
            for place, block in walk_records(file):
                facts, arrays = unpack(block)
                _count(figures, facts, arrays, place, settings)
                where = (len(shards), place.offset, place.block, place.payload)
                video = StoredVideo(facts["name"], facts["label"], facts["part"], *where, facts.get("reason"))
                lines.append(json.dumps(video) + "\n")
        shards.append(_entry(path))
    write_file(out / VIDEOS, "".join(lines))
    files = [_entry(out / SETTINGS), _entry(out / VIDEOS)]
    figures.bytes = sum(entry["bytes"] for entry in [*shards, *files])
    manifest = {"prepared_store": VERSION, "settings": settings, "figures": asdict(figures)}
    write_file(out / MANIFEST, json.dumps(manifest | {"shards": shards, "files": files}, indent=1) + "\n")


def _count(
    figures: StoreFigures, facts: dict[str, Any], arrays: Any, place: Place, settings: dict[str, Any]
) -> None:
    figures.videos += 1
    if "reason" in facts:
        figures.bad += 1
        figures.reasons[facts["reason"]] = figures.reasons.get(facts["reason"], 0) + 1
        return
    figures.frames += len(arrays["seconds"])
    figures.source_bytes += facts["source_bytes"]
    if not settings["raw"]:
        crf = facts["crf"]
        figures.crf[str(crf)] = figures.crf.get(str(crf), 0) + 1
        figures.lowered += crf > settings["crf"]
        limit = settings["max_share"]
        figures.larger += limit is not None and place.end - place.offset > limit * facts["source_bytes"]


def _facts(video: SourceVideo) -> dict[str, Any]:
    return {"name": video.name, "label": video.label, "part": video.part}


def _entry(path: Path) -> dict[str, Any]:
    return {"name": path.name, "bytes": path.stat().st_size, "sha256": _sha256(path)}


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
