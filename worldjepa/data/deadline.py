"""How long a clip may take: checked by the process that decodes it, watched by the one that waits for it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch.utils.data import get_worker_info

# How much longer than allowed a worker may take before it is ended: first it may notice by itself.
GRACE_S = 2.0


class OutOfTimeError(ValueError):
    """Decoding took longer than it may; the file may be sound."""


class Attempt(NamedTuple):
    """What a process is at: the sample of that number, the file that is tried for it as number ``retry``."""

    sample: int
    retry: int


class Deadline:
    """The time that a clip may take, ``seconds`` (None: as long as it takes).

    What each worker process is at stands in memory that they share with the main process, so that it sees
    a worker that hangs inside a decoder, where no check is made.
    """

    def __init__(self, seconds: float | None, workers: int = 0):
        if seconds is not None and not seconds > 0:
            raise ValueError(f"data.timeout_s={seconds}: expected a positive number of seconds, or null")
        self.seconds = seconds
        self._start = 0.0
        # began (0: at nothing), sample, retry
        self._board = torch.zeros(max(1, workers), 3, dtype=torch.float64)
        if workers:
            self._board.share_memory_()

    @contextmanager
    def attempt(self, attempt: Attempt) -> Iterator[None]:
        """Allow ``seconds`` for what happens inside."""
        worker = get_worker_info()
        row = self._board[worker.id if worker else 0]
        row[1], row[2] = attempt
        self._start = time.monotonic()
        row[0] = self._start
        try:
            yield
        finally:
            row[0] = self._start = 0.0

    def check(self) -> None:
        """Raise ``OutOfTimeError`` if the time of the present attempt is up."""
        if self.seconds is not None and self._start and time.monotonic() > self._start + self.seconds:
            raise OutOfTimeError(self.reason())

    def reason(self) -> str:
        """Return what is said of a file that took too long."""
        return f"decoding a clip took more than data.timeout_s={self.seconds:g} seconds"

    def overdue(self) -> list[Attempt]:
        """Return what workers are at that should have ended by themselves by now."""
        if self.seconds is None:
            return []
        latest = time.monotonic() - self.seconds - GRACE_S
        return [Attempt(int(row[1]), int(row[2])) for row in self._board if 0 < float(row[0]) < latest]

    def clear(self) -> None:
        """Forget what the workers were at: they have been ended."""
        self._board.zero_()


UNLIMITED = Deadline(None)
