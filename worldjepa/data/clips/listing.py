"""Which files a run trains on: sorted, labelled where labels are known, some of them held out."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from worldjepa.data.clips.layouts import IMAGE_EXTENSIONS, LAYOUTS, VIDEO_EXTENSIONS, Entry, read_entries
from worldjepa.data.video.store_format import is_store

__all__ = ["IMAGE_EXTENSIONS", "VIDEO_EXTENSIONS", "FileList", "difference", "list_entries", "list_files"]


@dataclass(frozen=True)
class FileList:
    """Files in a fixed order. ``labels`` index ``classes`` (-1: unknown); ``root`` is what was listed.

    ``prepared``: the root is a prepared store, and the paths are names in it (``store_reader.py``).
    """

    paths: tuple[str, ...]
    labels: tuple[int, ...]
    classes: tuple[str, ...]
    root: str
    prepared: bool = False

    def __len__(self) -> int:
        return len(self.paths)

    def take(self, ids: Iterable[int]) -> FileList:
        """Return the files numbered ``ids``, in that order."""
        ids = list(ids)
        paths, labels = tuple(self.paths[i] for i in ids), tuple(self.labels[i] for i in ids)
        return replace(self, paths=paths, labels=labels)

    @property
    def base(self) -> str:
        """The folder from which relative paths count."""
        return self.root if os.path.isdir(self.root) else os.path.dirname(self.root)

    def relative(self, index: int) -> str:
        """Return path number ``index`` relative to the root, so that a corpus may be moved."""
        return relative_to(self.base, self.paths[index])

    def lines(self) -> list[str]:
        """Return one line of text a file: its relative path and its class, as JSON."""
        names = [self.classes[label] if label >= 0 else None for label in self.labels]
        return [json.dumps([self.relative(i), name]) for i, name in enumerate(names)]


def list_files(
    root: str | os.PathLike[str], layout: str = "auto", part: str = "all", setting: str = "data.root"
) -> FileList:
    """List the files of ``root``, sorted by path.

    ``layout``: csv (annotation file, or a folder with train.csv and val.csv), folders (a class a
    folder), flat (any folder, no labels), ssv2, images (a class a folder, or flat), or auto. ``part``:
    all, train or val, where the layout itself divides them (``train`` and ``val`` folders, annotation
    files of those names); without a division everything is train. ``setting`` is what named ``root``.
    A prepared store (``python -m worldjepa.prepare``) lists as the corpus that it was made of, whatever the
    layout. Raises ``ValueError`` or ``FileNotFoundError`` saying what was looked for.
    """
    if part not in ("all", "train", "val"):
        raise ValueError(f"part={part!r}: expected 'all', 'train' or 'val'")
    path, entries = list_entries(root, layout, setting)
    classes = _class_names(entries)
    numbers = {name: number for number, name in enumerate(classes)}
    chosen = [entry for entry in entries if part in ("all", entry.part)]
    labels = tuple(-1 if entry.label is None else numbers[entry.label] for entry in chosen)
    return FileList(tuple(entry.path for entry in chosen), labels, classes, str(path), is_store(path))


def list_entries(
    root: str | os.PathLike[str], layout: str = "auto", setting: str = "data.root"
) -> tuple[Path, list[Entry]]:
    """Return the absolute path of ``root`` and its files with class and part, sorted, each once.

    Raises what ``list_files`` does.
    """
    path = Path(os.path.abspath(os.path.expanduser(root)))
    if layout not in LAYOUTS:
        raise ValueError(f"data.layout={layout!r} is unknown; expected one of {', '.join(LAYOUTS)}")
    if not path.exists():
        raise FileNotFoundError(
            f"{setting}={path} does not exist; name a folder, an annotation file or a video"
        )
    return path, sorted({entry.path: entry for entry in read_entries(path, layout)}.values())


def relative_to(base: str, path: str) -> str:
    """Return ``path`` relative to the folder ``base`` if it lies in it, else as it is."""
    return os.path.relpath(path, base) if path.startswith(base + os.sep) else path


def training_and_held_out(
    root: str | os.PathLike[str],
    layout: str = "auto",
    val_root: str | os.PathLike[str] | None = None,
    setting: str = "data.root",
) -> tuple[FileList, FileList]:
    """Return the files to train on and those held out, with one numbering of classes.

    Held out are the files of ``val_root``, else what the layout sets apart, else every tenth or so file.
    """
    if val_root is not None:
        training = list_files(root, layout, "train", setting)
        return training, _renumbered(list_files(val_root, layout, setting="data.val_root"), training.classes)
    training, held_out = list_files(root, layout, "train", setting), list_files(root, layout, "val", setting)
    if not training.paths:
        raise ValueError(f"data.root={training.root} holds only held-out files (val); nothing to train on")
    return (training, held_out) if held_out.paths else split_held_out(training)


def split_held_out(files: FileList, share: float = 0.1) -> tuple[FileList, FileList]:
    """Set apart about ``share`` of the files: those whose path hashes lowest, whatever else is listed.

    At least one file is held out of two or more; of a single file nothing is.
    """
    places = [_unit_hash(files.relative(i)) for i in range(len(files))]
    held = [i for i, place in enumerate(places) if place < share]
    if not held and len(files) > 1:
        held = [min(range(len(files)), key=places.__getitem__)]
    if len(held) == len(files):
        held = held[1:]
    kept = set(range(len(files))) - set(held)
    return files.take(sorted(kept)), files.take(held)


def difference(old: Sequence[str], new: Sequence[str], most: int = 5) -> str:
    """Say how two lists (``FileList.lines``) differ, naming up to ``most`` files of each kind."""
    gone, came = Counter(old) - Counter(new), Counter(new) - Counter(old)
    parts = []
    for count, lines in ((gone.total(), gone), (came.total(), came)):
        if count:
            word = "gone" if lines is gone else "new"
            named = ", ".join(list(lines)[:most]) + (", ..." if count > most else "")
            parts.append(f"{count} {word}: {named}")
    if not parts:
        return "same files" if list(old) == list(new) else "same files in another order"
    return f"{len(old)} files before, {len(new)} now; " + "; ".join(parts)


def _class_names(entries: Sequence[Entry]) -> tuple[str, ...]:
    """Return the names of the classes; where all are whole numbers, number ``i`` is class ``i``.

    Numbers with leading zeros are names.
    """
    names = {entry.label for entry in entries if entry.label is not None}
    if names and all(_is_number(name) for name in names):
        count = max(int(name) for name in names) + 1
        if count > 100_000:
            raise ValueError(f"labels run up to {count - 1}: expected class numbers from 0, or class names")
        return tuple(str(i) for i in range(count))
    return tuple(sorted(names))


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdigit() and (name == "0" or not name.startswith("0"))


def _renumbered(files: FileList, classes: tuple[str, ...]) -> FileList:
    numbers = {name: number for number, name in enumerate(classes)}
    labels = tuple(numbers.get(files.classes[label], -1) if label >= 0 else -1 for label in files.labels)
    return replace(files, labels=labels, classes=classes)


def _unit_hash(text: str) -> float:
    digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
