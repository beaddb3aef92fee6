"""The checkpoint folder: written whole or not at all, and checked before it is read.

A folder is staged under a temporary name beside its target, every file is synced, ``manifest.json``
with the sha256 sums is written last, the folder is renamed and its parent synced. Whoever is killed at
any moment leaves either the old state or the new one. Nothing here pickles or instantiates anything.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Mapping
from pathlib import Path

from worldjepa.plain_data import read_json

logger = logging.getLogger(__name__)

MANIFEST = "manifest.json"
FORMAT = 1
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_STEP_NAME = re.compile(r"step_(\d{8,})")
_TEMPORARY = (".staging-", ".trash-")
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}

Writer = Callable[[Path], object]  # what it returns is ignored


class TornFolderError(ValueError):
    """A folder is not what its manifest says: a file is missing, differs, or does not belong."""


class CheckpointWriteError(OSError):
    """A checkpoint could not be written; what stood there before still stands."""


def checkpoint_path(run_dir: Path | str, step: int) -> Path:
    """Return where the checkpoint of ``step`` stands in a run folder."""
    return Path(run_dir) / "checkpoints" / f"step_{step:08d}"


def checkpoint_step(path: Path) -> int | None:
    """Return the step a checkpoint folder is named after, or None when it is not one."""
    match = _STEP_NAME.fullmatch(path.name)
    return int(match[1]) if match else None


# --- writing -------------------------------------------------------------------------------------


def write_folder(path: Path | str, writers: Mapping[str, Writer]) -> Path:
    """Write a folder of files so that it appears whole or not at all.

    ``writers`` maps a plain file name to a function that writes that file at the path it is given. A
    torn folder of the same name is replaced; a whole one is refused with ``FileExistsError``. Any
    ``OSError`` while writing becomes ``CheckpointWriteError`` and the partial folder is removed.
    """
    path = Path(path)
    for name in writers:
        if not _FILE_NAME.fullmatch(name) or name == MANIFEST:
            raise ValueError(f"{name!r} cannot be a file of {path.name}: use letters, digits, '.', '_', '-'")
    if os.path.lexists(path) and is_whole(path):
        raise FileExistsError(f"{path} is already there and whole; remove it or choose another name")
    staging = path.parent / f"{_TEMPORARY[0]}{path.name}-{secrets.token_hex(4)}"
    at = staging
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        staging.mkdir()
        entries = {}
        for name, write in writers.items():
            at = staging / name
            write(at)
            _sync(at)
            entries[name] = {"sha256": _sha256(at), "bytes": at.stat().st_size}
        at = staging / MANIFEST
        at.write_text(json.dumps({"format": FORMAT, "files": entries}, indent=2) + "\n", encoding="utf-8")
        _sync(at)
        _sync(staging)
        _discard(path)
        os.rename(staging, path)
        _sync(path.parent)
    except OSError as error:
        raise _write_error(path, at.name, error) from error
    finally:
        # Also on KeyboardInterrupt and on a writer's own error; after the rename nothing is left to remove.
        shutil.rmtree(staging, ignore_errors=True)
    return path


def write_file(path: Path | str, text: str) -> None:
    """Replace a small text file in one move, synced."""
    path = Path(path)
    staging = path.parent / f"{_TEMPORARY[0]}{path.name}-{secrets.token_hex(4)}"
    try:
        staging.write_text(text, encoding="utf-8")
        _sync(staging)
        os.replace(staging, path)
        _sync(path.parent)
    finally:
        staging.unlink(missing_ok=True)


def _write_error(path: Path, name: str, error: OSError) -> CheckpointWriteError:
    """Say what could not be written, where, how much is free, and what is still there."""
    free = shutil.disk_usage(next(p for p in path.parents if p.exists())).free / 1e6
    kept = [p.name for p in _checkpoints(path.parent) if p != path and is_whole(p, contents=False)]
    still = f"The previous checkpoint {kept[-1]} is kept" if kept else "There is no earlier checkpoint"
    todo = "Free some space" if error.errno in _FULL else "Mend this"
    failure = CheckpointWriteError(
        f"could not write {path} (at {name}): {error.strerror or error}; {free:.0f} MB are free there. "
        f"{still}. {todo} and start the same command again."
    )
    failure.errno = error.errno
    return failure


def _sync(path: Path) -> None:
    """Force a file, or a folder's entries, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _discard(path: Path) -> None:
    """Remove a file or folder; a folder is renamed first, so that a kill never leaves half of it."""
    if not os.path.lexists(path):
        return
    trash = path.parent / f"{_TEMPORARY[1]}{path.name.lstrip('.')}-{secrets.token_hex(4)}"
    os.rename(path, trash)
    if trash.is_dir() and not trash.is_symlink():
        shutil.rmtree(trash, ignore_errors=True)
    else:
        trash.unlink()


# --- checking ------------------------------------------------------------------------------------


def verify_folder(path: Path | str, *, contents: bool = True) -> None:
    """Raise ``TornFolderError`` unless a folder holds exactly the files of its manifest, unchanged.

    ``contents=False`` compares names and sizes only. Links, folders and odd file names are refused.
    """
    path = Path(path)
    if path.is_symlink() or not path.is_dir():
        raise TornFolderError(f"{path} is not a folder")
    wanted = _read_manifest(path)
    there = {entry.name for entry in path.iterdir()} - {MANIFEST}
    for name in sorted(there - wanted.keys()):
        raise TornFolderError(f"{path} holds {name!r}, which its manifest does not list")
    for name, (digest, size) in wanted.items():
        file = path / name
        if name not in there:
            raise TornFolderError(f"{path} lacks {name}, which its manifest lists")
        info = file.lstat()
        if not stat.S_ISREG(info.st_mode):
            raise TornFolderError(f"{path}: {name} is not a plain file (links are not followed)")
        if info.st_size != size:
            raise TornFolderError(f"{path}: {name} has {info.st_size} bytes, its manifest says {size}")
        if contents and _sha256(file) != digest:
            raise TornFolderError(f"{path}: the contents of {name} differ from its manifest's sha256")


def _read_manifest(path: Path) -> dict[str, tuple[str, int]]:
    """Return file name -> (sha256, bytes) from a folder's manifest."""
    file = path / MANIFEST
    if file.is_symlink() or not file.is_file():
        raise TornFolderError(f"{path} lacks {MANIFEST}: it was not written to the end")
    try:
        manifest = read_json(file)
        version = manifest["format"]
        entries = {name: (e["sha256"], e["bytes"]) for name, e in manifest["files"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise TornFolderError(f"{path}: {MANIFEST} cannot be read ({error!r})") from error
    if version != FORMAT:
        raise TornFolderError(f"{path} has format {version}; this version of worldjepa reads format {FORMAT}")
    for name in entries:
        if not _FILE_NAME.fullmatch(name) or name == MANIFEST:
            raise TornFolderError(f"{path}: {MANIFEST} lists {name!r}, which is not a plain file name")
    return entries


def is_whole(path: Path | str, *, contents: bool = True) -> bool:
    """Tell whether ``verify_folder`` passes."""
    try:
        verify_folder(path, contents=contents)
    except TornFolderError:
        return False
    return True


# --- the checkpoints of a run --------------------------------------------------------------------


def _checkpoints(folder: Path) -> list[Path]:
    """Return the ``step_*`` entries of a ``checkpoints`` folder, oldest step first."""
    if not folder.is_dir():
        return []
    steps = {p: checkpoint_step(p) for p in folder.iterdir()}
    return sorted((p for p, step in steps.items() if step is not None), key=lambda p: steps[p] or 0)


def latest_checkpoint(run_dir: Path | str) -> Path | None:
    """Return the newest whole checkpoint of a run, passing over torn ones with a logged line."""
    for path in reversed(_checkpoints(Path(run_dir) / "checkpoints")):
        try:
            verify_folder(path)
        except TornFolderError as error:
            logger.warning("passing over a torn checkpoint: %s", error)
        else:
            return path
    return None


def point_latest(path: Path | str) -> None:
    """Write the name of a checkpoint into ``latest`` beside it: a hint for people and shells only."""
    path = Path(path)
    write_file(path.parent / "latest", path.name + "\n")


def prune_checkpoints(run_dir: Path | str, *, keep_last: int, keep_every: int | None = None) -> list[Path]:
    """Remove old checkpoints; return those removed.

    The newest ``keep_last`` whole ones stay, and those whose step is a multiple of ``keep_every``.
    Torn ones older than the newest whole one go; nothing newer than it is touched.
    """
    if keep_last < 1 or (keep_every is not None and keep_every < 1):
        raise ValueError(f"keep_last={keep_last}, keep_every={keep_every}: both must be at least 1")
    found = _checkpoints(Path(run_dir) / "checkpoints")
    whole = [p for p in found if is_whole(p, contents=False)]
    if not whole:
        return []
    keep = set(whole[-keep_last:])
    keep |= {p for p in whole if keep_every and (checkpoint_step(p) or 0) % keep_every == 0}
    removed = [p for p in found[: found.index(whole[-1])] if p not in keep]
    for path in removed:
        _discard(path)
    return removed


def clean_leftovers(run_dir: Path | str) -> list[Path]:
    """Remove what killed writers left in a run folder; call it while holding the ``RunLock``."""
    run_dir = Path(run_dir)
    folders = [f for f in (run_dir, run_dir / "checkpoints") if f.is_dir()]
    left = [p for folder in folders for p in folder.iterdir() if p.name.startswith(_TEMPORARY)]
    for path in left:
        logger.warning("removing %s, left by an interrupted write", path)
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    return left
