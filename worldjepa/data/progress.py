"""How far work on many files is, on the terminal or as plain lines where there is none."""

from __future__ import annotations

import sys
import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

_LINE_EVERY = 10.0  # seconds between plain lines


class FileProgress:
    """Shows how many of ``total`` files are done. Use it as a context manager."""

    def __init__(self, total: int, *, terminal: bool | None = None):
        terminal = sys.stdout.isatty() if terminal is None else terminal
        self.console = Console(
            file=sys.stdout, force_terminal=terminal, highlight=False, soft_wrap=not terminal
        )
        self._total, self._said = total, time.monotonic()
        self._bar = _bar(self.console) if terminal else None

    def update(self, done: int) -> None:
        """Show that ``done`` files are done, those of earlier runs included."""
        if self._bar is not None:
            self._bar.update(self._task, completed=done)
        elif time.monotonic() > self._said + _LINE_EVERY:
            self._said = time.monotonic()
            self.console.print(f"file {done}/{self._total}", markup=False)

    def __enter__(self) -> FileProgress:
        if self._bar is not None:
            self._task = self._bar.add_task("", total=self._total)
            self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.stop()


def _bar(console: Console) -> Progress:
    return Progress(
        BarColumn(bar_width=None),
        TextColumn("{task.completed:.0f}/{task.total:.0f} files"),
        TimeRemainingColumn(),
        console=console,
        refresh_per_second=4,
    )
