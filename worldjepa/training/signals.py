"""SIGTERM and SIGINT ask the loop to save at the next step and leave."""

from __future__ import annotations

import logging
import signal
from types import FrameType

logger = logging.getLogger(__name__)
_CAUGHT = (signal.SIGTERM, signal.SIGINT)


class StopRequest:
    """True once a signal came. A second SIGINT acts at once, for somebody who will not wait."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._before: dict[int, object] = {}

    def __bool__(self) -> bool:
        return self.signal is not None

    def __enter__(self) -> StopRequest:
        for number in _CAUGHT:
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = signal.Signals(number)
