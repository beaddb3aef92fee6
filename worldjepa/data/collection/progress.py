"""How far a collection is, on the terminal or as plain lines where there is none."""

from __future__ import annotations

import sys
import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

_LINE_EVERY = 10.0  # seconds between plain lines


class CollectionProgress:
    """Shows episodes, steps a second and lost ones. Use it as a context manager; begun with ``begin``."""

    def __init__(self, total: int, *, shown: bool = True, terminal: bool | None = None) -> None:
        terminal = sys.stdout.isatty() if terminal is None else terminal
        self._total, self._shown = total, shown
        self._console = Console(
            file=sys.stdout, force_terminal=terminal, highlight=False, soft_wrap=not terminal
        )
        self._bar = _bar(self._console) if shown and terminal else None
        self._began = self._said = time.monotonic()
        self._shown_done = 0

    def begin(self, done: int) -> None:
        """Start the clock; ``done`` episodes are there already."""
        self._began = self._said = time.monotonic()
        if self._bar is not None:
            self._task = self._bar.add_task("", total=self._total, completed=done, figures="")
            self._bar.start()

    def update(self, done: int, steps: int, lost: int) -> None:
        """Show that ``done`` episodes are there; ``steps`` and ``lost`` count since ``begin``."""
        now = time.monotonic()
        figures = f"{steps / max(now - self._began, 1e-9):,.0f} steps/s"
        figures += f"  {lost} lost" if lost else ""
        if self._bar is not None:
            self._bar.update(self._task, completed=done, figures=figures)
            return
        due = now - self._said >= _LINE_EVERY or done == self._total
        if self._shown and due and done > self._shown_done:
            self._said, self._shown_done = now, done
            width = len(str(self._total))
            self._console.print(f"episode {done:>{width}}/{self._total}  {figures}", markup=False)

    def close(self) -> None:
        """Finish the bar."""
        if self._bar is not None:
            self._bar.stop()

    def __enter__(self) -> CollectionProgress:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _bar(console: Console) -> Progress:
    return Progress(
        BarColumn(bar_width=None),
        TextColumn("{task.completed:.0f}/{task.total:.0f} episodes"),
        TextColumn("{task.fields[figures]}"),
        TimeRemainingColumn(),
        console=console,
        refresh_per_second=4,
    )
