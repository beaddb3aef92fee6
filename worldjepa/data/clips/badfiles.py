"""The log of bad files: each listed once, on disk before its batch is used; too many end the run."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable
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
        self._bad: dict[str, str] = {}

    def record(self, batch: Batch) -> None:
        """Take note of the files of ``batch``, before it is used; raises ``TooManyBadFilesError``."""
        self._tried.update(batch.paths)
        self._tried.update(file.path for file in batch.bad)
        new: dict[str, str] = {}
        for file in batch.bad:
            if file.path not in self._bad:
                new.setdefault(file.path, file.reason)
        if new:
            self._bad.update(new)
            self._append(new)
        share = len(self._bad) / max(1, len(self._tried))
        if len(self._tried) >= self._min_tried and share > self._max_bad_share:
            raise TooManyBadFilesError(
                f"{len(self._bad)} of {len(self._tried)} files tried are bad ({share:.0%}; "
                f"data.max_bad_share allows {self._max_bad_share:.0%}). "
                f"They are listed in {self._path}; {_examples(self._bad)}"
            )

    def _append(self, new: dict[str, str]) -> None:
        with open(self._path, "a+", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            text = file.read()
            listed = {json.loads(line)["path"] for line in text.splitlines() if line.endswith("}")}
            if text and not text.endswith("\n"):
                file.write("\n")  # a line torn by a crash stays on its own
            for path, reason in new.items():
                if path not in listed:
                    file.write(json.dumps({"path": path, "reason": reason}) + "\n")
            file.flush()
            os.fsync(file.fileno())


def no_good_file(bad: Iterable[BadFile]) -> NoGoodFileError:
    """Return the error for a draw, or an evaluation, that met bad files only."""
    reasons = {file.path: file.reason for file in bad}
    return NoGoodFileError(
        f"no good file found: all {len(reasons)} files tried are bad; {_examples(reasons)}"
    )


def _examples(reasons: dict[str, str]) -> str:
    return "for example " + "; ".join(f"{path}: {reason}" for path, reason in list(reasons.items())[:3])
