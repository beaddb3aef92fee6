"""The log of bad files: each listed once, on disk before its batch is used; too many end the run."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from itertools import islice
from pathlib import Path

from worldjepa.types import BadFile, Batch


class TooManyBadFilesError(ValueError):
    """The data is not what the run was meant to be trained on."""


class NoGoodFileError(ValueError):
    """A draw met bad files only."""


class BadFileLog:
    """Writes ``bad_files.jsonl`` and watches the share of bad files among the different files tried.

    The share is checked once ``min_tried`` files were tried since the start of this process. Ranks may
    write to the same file: each entry is added under a lock, unless it is there already.
    """

    def __init__(self, path: Path, max_bad_share: float, min_tried: int = 100):
        if not 0 <= max_bad_share <= 1:
            raise ValueError(f"data.max_bad_share={max_bad_share}: expected a share from 0 to 1")
        self._path, self._max_bad_share, self._min_tried = Path(path), max_bad_share, min_tried
        self._tried: set[str] = set()
        self._bad: dict[str, BadFile] = {}

    def record(self, batch: Batch) -> None:
        """Take note of the files of ``batch``, before it is used; raises ``TooManyBadFilesError``."""
        self._tried.update(batch.paths)
        self._tried.update(file.path for file in batch.bad)
        new: dict[str, BadFile] = {}
        for file in batch.bad:
            if file.path not in self._bad:
                new.setdefault(file.path, file)
        if new:
            self._bad.update(new)
            self._append(new)
        share = len(self._bad) / max(1, len(self._tried))
        if len(self._tried) >= self._min_tried and share > self._max_bad_share:
            raise TooManyBadFilesError(
                f"{len(self._bad)} of {len(self._tried)} files tried are bad ({share:.0%}; "
                f"data.max_bad_share allows {self._max_bad_share:.0%}). "
                f"They are listed in {self._path}; {_examples(self._bad.values())}"
            )

    def _append(self, new: dict[str, BadFile]) -> None:
        with open(self._path, "a+", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            text = file.read()
            listed = {file.path for file in _listed(text)}
            if text and not text.endswith("\n"):
                file.write("\n")  # a line torn by a crash stays on its own
            for path, bad in new.items():
                if path not in listed:
                    entry = {name: value for name, value in asdict(bad).items() if value is not None}
                    file.write(json.dumps(entry) + "\n")
            file.flush()
            os.fsync(file.fileno())


def read_timed_out(path: Path) -> tuple[BadFile, ...]:
    """Return the files listed in ``bad_files.jsonl`` that took too long, for a run that is continued.

    Whether they would take too long again is chance; what is drawn in their place must not be.
    """
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return tuple(file for file in _listed(text) if file.sample is not None)


def _listed(text: str) -> Iterator[BadFile]:
    """Yield the entries of ``bad_files.jsonl``; a line that a crash has torn is none."""
    return (BadFile(**json.loads(line)) for line in text.splitlines() if line.endswith("}"))


def no_good_file(bad: Iterable[BadFile]) -> NoGoodFileError:
    """Return the error for a draw, or an evaluation, that met bad files only."""
    files = {file.path: file for file in bad}
    return NoGoodFileError(
        f"no good file found: all {len(files)} files tried are bad; {_examples(files.values())}"
    )


def _examples(files: Iterable[BadFile]) -> str:
    return "for example " + "; ".join(f"{file.path}: {file.reason}" for file in islice(files, 3))
