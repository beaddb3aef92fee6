"""How fast a run goes, and how much of the time it waits for data."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator


class Pace:
    """Clips per second and the share of time spent waiting for data, since the last ``lap``."""

    def __init__(self, batch_size: int):
        self.batch_size = batch_size
        self._restart()

    def _restart(self) -> None:
        self.steps, self._waited, self._began = 0, 0.0, time.perf_counter()

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Count the block as time spent waiting for data."""
        began = time.perf_counter()
        yield
        self._waited += time.perf_counter() - began

    def lap(self) -> dict[str, float]:
        """Return the figures since the last lap and begin a new one."""
        seconds = time.perf_counter() - self._began
        speed, share = self.steps * self.batch_size / seconds, self._waited / seconds
        self._restart()
        return {"clips_per_second": speed, "data_wait": share}
