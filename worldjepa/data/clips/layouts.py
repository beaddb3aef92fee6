"""How corpora lie on disk: annotation files, a class a folder, Something-Something v2, plain folders."""

from __future__ import annotations

import csv
import json
import logging
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from worldjepa.data.video.store_format import StoreFolder, is_store

log = logging.getLogger(__name__)

VIDEO_EXTENSIONS = (
    *(".mp4", ".mkv", ".webm", ".avi", ".mov", ".m4v", ".mpg", ".mpeg", ".ts", ".m2ts", ".mts"),
    *(".wmv", ".flv", ".3gp", ".ogv"),
)
IMAGE_EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".gif")
# Names of folders, annotation files and of Kinetics' split column. "test" is listed, but for no use here.
PARTS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validate", "validation"), "val"),
    "test": "test",
}


class Entry(NamedTuple):
    """One file, its class name if known, and the part that the layout puts it into."""

    path: str
    label: str | None = None
    part: str = "train"


def read_entries(root: Path, layout: str) -> list[Entry]:
    """Read ``root`` as ``layout``; raises ``ValueError`` where that finds nothing."""
    if is_store(root):
        return [Entry(str(root / v.name), v.label, v.part) for v in StoreFolder(root).videos.values()]
    if root.is_file():
        if root.name.lower().endswith(VIDEO_EXTENSIONS + IMAGE_EXTENSIONS):
            return [Entry(str(root))]
        if layout not in ("auto", "csv"):
            raise ValueError(f"data.layout={layout} needs a folder; data.root={root} is a file")
        return read_csv(root)
    reader = LAYOUTS[layout] if layout != "auto" else _recognise(root)
    entries = reader(root)
    if not entries:
        looked = {"images": IMAGE_EXTENSIONS, "auto": VIDEO_EXTENSIONS + IMAGE_EXTENSIONS}.get(
            layout, VIDEO_EXTENSIONS
        )
        raise ValueError(f"data.root={root}: no files found; looked for {' '.join(looked)} in it and below")
    return entries


def find_files(root: Path, extensions: tuple[str, ...]) -> list[str]:
    """Return the paths below ``root`` with one of ``extensions``, sorted; what is hidden does not count."""
    found: list[str] = []
    seen: set[tuple[int, int]] = set()
    for folder, folders, names in os.walk(root, followlinks=True, onerror=_warn_unreadable):
        here = os.stat(folder)
        if (here.st_dev, here.st_ino) in seen:  # a link that leads back up
            folders.clear()
            continue
        seen.add((here.st_dev, here.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [
            os.path.join(folder, n) for n in names if n.lower().endswith(extensions) and not n.startswith(".")
        ]
    return sorted(found)


def read_csv(path: Path, part: str = "train") -> list[Entry]:
    """Read an annotation file: ``path label`` (space, tab or comma), or Kinetics' form with its header."""
    with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        lines = file.read().splitlines()
    header = lines[0].replace('"', "").replace(" ", "").lower().split(",") if lines else []
    if "youtube_id" in header:
        entries = _kinetics_entries(path, lines, header, part)
    else:
        first = 1 if lines and _is_header(path, lines[0]) else 0
        numbered = list(enumerate(lines, 1))[first:]
        entries = [_line_entry(path, number, line, part) for number, line in numbered if line.strip()]
    if not entries:
        raise ValueError(f"data.root={path}: no line names a file")
    if not any(os.path.exists(entry.path) for entry in entries[:1000]):
        raise ValueError(
            f"data.root={path}: none of the first files exists, for example {entries[0].path}; "
            "relative paths count from the folder of the annotation file"
        )
    return entries


_LINE = re.compile(
    r'^\s*"?(?P<path>.*?\.(?:%s))"?(?:\s*[,\t ]\s*"?(?P<label>(?:(?!\.(?:%s)\b).)*?)"?)?\s*$'
    % (("|".join(e[1:] for e in VIDEO_EXTENSIONS + IMAGE_EXTENSIONS),) * 2),
    re.IGNORECASE,
)
_HEADER = re.compile(r'^\s*"?(path|filename|file|video|video_path)"?\s*[,\t ]', re.IGNORECASE)


def _is_header(path: Path, line: str) -> bool:
    """Tell whether the first line names the columns; ``ValueError`` if they are not a path and a label."""
    if _LINE.match(line) or not _HEADER.match(line):
        return False
    columns = line.split(next((mark for mark in ",\t" if mark in line), None))
    if len([name for name in columns if name.strip()]) > 2:
        raise ValueError(
            f"{path}: its header is {line[:200]!r}; expected a path and a label, and no other column. Write "
            "path,label alone; for a split, put train.csv and val.csv into one folder, or follow Kinetics "
            "(label,youtube_id,time_start,time_end,split)"
        )
    return True


def _line_entry(path: Path, number: int, line: str, part: str) -> Entry:
    """Read ``path label``. Both may hold spaces: the path ends with the last known file extension."""
    match = _LINE.match(line)
    if match is None:
        raise ValueError(
            f"{path}, line {number}: expected 'path label' with a space or comma between, the path ending in "
            f"one of {' '.join(VIDEO_EXTENSIONS)}; got {line[:200]!r}"
        )
    label = (match["label"] or "").strip()
    full = os.path.join(path.parent, os.path.expanduser(match["path"]))
    return Entry(os.path.normpath(full), None if label in ("", "-1") else label, part)


def _kinetics_entries(path: Path, lines: list[str], header: list[str], part: str) -> list[Entry]:
    """Match Kinetics' rows (label, youtube_id, time_start, time_end, split) with the files near the CSV.

    Downloads are never complete, so a row without a file is left out; how many is said.
    """
    files = {Path(found).stem: found for found in reversed(find_files(path.parent, VIDEO_EXTENSIONS))}
    entries, rows, stems = [], list(csv.reader(lines[1:])), ["<youtube_id>"]
    for number, row in enumerate(rows, 2):
        if not row:
            continue
        if len(row) != len(header):
            raise ValueError(
                f"{path}, line {number}: expected {len(header)} fields ({','.join(header)}), got {len(row)}"
            )
        fields = dict(zip(header, row, strict=True))
        stems = [fields["youtube_id"]]
        start, end = fields.get("time_start", ""), fields.get("time_end", "")
        if start and end:
            try:
                stems.insert(0, f"{stems[0]}_{int(float(start)):06d}_{int(float(end)):06d}")
            except ValueError as error:
                raise ValueError(
                    f"{path}, line {number}: time_start and time_end are seconds, got {start}, {end}"
                ) from error
        found = next((files[stem] for stem in stems if stem in files), None)
        if found is not None:
            entries.append(
                Entry(found, fields.get("label") or None, PARTS.get(fields.get("split", ""), part))
            )
    if len(entries) < len(rows):
        absent = len(rows) - len(entries)
        log.warning(
            "%s: %d of its %d clips have no file in the folder and are left out", path, absent, len(rows)
        )
    if not entries:
        raise ValueError(
            f"{path}: none of its {len(rows)} clips has a file below {path.parent}, like {stems[0]}.mp4"
        )
    return entries


def _read_csv_folder(root: Path) -> list[Entry]:
    """Read train.csv, val.csv and the like in ``root``, else any CSV in it."""
    files = _named_csv(root) or sorted(root.glob("*.csv"))
    if not files:
        raise ValueError(f"data.root={root}: no annotation file (.csv) in it")
    return [entry for file in files for entry in read_csv(file, _part_of(file.stem))]


def _named_csv(root: Path) -> list[Path]:
    return [file for file in sorted(root.glob("*.csv")) if file.stem in PARTS]


def _part_of(name: str) -> str:
    return PARTS.get(name.lower(), "train")


def _read_folders(root: Path) -> list[Entry]:
    """Take the first folder below ``root`` (or below its train and val folders) as the class."""
    found = _with_parts(root, VIDEO_EXTENSIONS)
    return [Entry(path, inner[0] if len(inner) > 1 else None, part) for path, part, inner in found]


def _read_flat(root: Path) -> list[Entry]:
    return [Entry(path, None, part) for path, part, _ in _with_parts(root, VIDEO_EXTENSIONS)]


def _read_images(root: Path) -> list[Entry]:
    return _classes_if_regular(root, IMAGE_EXTENSIONS)


def _classes_if_regular(root: Path, extensions: tuple[str, ...]) -> list[Entry]:
    """Take folders as classes only if every file lies exactly one folder deep and there are two or more."""
    found = list(_with_parts(root, extensions))
    classes = {inner[0] for _, _, inner in found}
    if len(classes) > 1 and all(len(inner) == 2 for _, _, inner in found):
        return [Entry(path, inner[0], part) for path, part, inner in found]
    return [Entry(path, None, part) for path, part, _ in found]


def _with_parts(root: Path, extensions: tuple[str, ...]) -> Iterable[tuple[str, str, tuple[str, ...]]]:
    """Yield (path, part, what of the path lies below the root and its part folder).

    A first folder called train, val, ... is a part only if there is one for training among them.
    """
    found = [(path, Path(path).relative_to(root).parts) for path in find_files(root, extensions)]
    tops = {inner[0].lower() for _, inner in found if len(inner) > 1}
    divided = any(PARTS.get(top) == "train" for top in tops) and tops <= PARTS.keys()
    for path, inner in found:
        if divided and len(inner) > 1:
            yield path, PARTS[inner[0].lower()], inner[1:]
        else:
            yield path, "train", inner


def _read_ssv2(root: Path) -> list[Entry]:
    """Read Something-Something v2: numbered videos, and JSON lists under either release's names."""
    lists = _ssv2_lists(root)
    if "train" not in lists:
        raise ValueError(
            f"data.root={root}: expected something-something-v2-train.json, or labels/train.json, "
            "beside the videos"
        )
    files = {Path(path).stem: path for path in find_files(root, VIDEO_EXTENSIONS)}
    entries, missing = [], 0
    for part, file in lists.items():
        rows = _read_json(file)
        if not isinstance(rows, list) or not all(isinstance(row, dict) and "id" in row for row in rows):
            raise ValueError(f"{file}: expected a list of objects with 'id' and 'template'")
        for row in rows:
            template = row.get("template")
            label = template.replace("[", "").replace("]", "") if isinstance(template, str) else None
            if str(row["id"]) in files:
                entries.append(Entry(files[str(row["id"])], label, part))
            else:
                missing += 1
    if missing:
        log.warning("%s: %d listed videos have no file and are left out", root, missing)
    return entries


def _ssv2_lists(root: Path) -> dict[str, Path]:
    lists: dict[str, Path] = {}
    for part, name in (("train", "train"), ("val", "validation")):
        long = f"something-something-v2-{name}.json"
        for file in (root / long, root / "labels" / long, root / "labels" / f"{name}.json"):
            if file.is_file():
                lists.setdefault(part, file)
    return lists


def _read_json(path: Path):
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}, line {error.lineno}: not valid JSON ({error.msg})") from error


def _recognise(root: Path) -> Callable[[Path], list[Entry]]:
    """Return the reader for a folder whose layout was not named."""
    if "train" in _ssv2_lists(root):
        return _read_ssv2
    if _named_csv(root):
        return _read_csv_folder
    if any(True for _ in find_files(root, VIDEO_EXTENSIONS)):
        return lambda folder: _classes_if_regular(folder, VIDEO_EXTENSIONS)
    return _read_images


def _warn_unreadable(error: OSError) -> None:
    log.warning("cannot list %s (%s); its files are left out", error.filename, error.strerror)


LAYOUTS: dict[str, Callable[[Path], list[Entry]]] = {
    "auto": lambda root: _recognise(root)(root),
    "csv": _read_csv_folder,
    "folders": _read_folders,
    "flat": _read_flat,
    "ssv2": _read_ssv2,
    "images": _read_images,
}
