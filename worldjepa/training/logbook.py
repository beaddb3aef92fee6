"""What a run writes down and shows: metrics.jsonl, TensorBoard, and progress on the terminal."""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path

from jaxtyping import UInt8
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from torch import Tensor

from worldjepa.training.board import Board

# metric -> how it is shown; what a step does not report keeps its last value
_SHOWN = {
    "loss": "loss {:.4f}",
    "effective_rank": "rank {:.1f}",
    "clips_per_second": "{:.1f} clips/s",
    "data_wait": "data wait {:.0%}",
}
_RECENT = 20  # logged steps that the time left is estimated from


class Logbook:
    """Rank 0's record of a run; on other ranks (``main=False``) every method does nothing.

    ``step`` always counts the updates done, 1 to ``total_steps``. ``log`` writes one JSON object a call
    to ``metrics.jsonl`` (always with ``step`` and ``loss``; what is not finite becomes null) and the
    same figures to TensorBoard under ``<run_dir>/tensorboard``. ``resumed`` is the restored step, 0 for
    a new run: later records are dropped from both. ``terminal`` None means: look whether stdout is one.
    """

    def __init__(
        self,
        run_dir: Path | str,
        *,
        total_steps: int,
        resumed: int = 0,
        main: bool = True,
        terminal: bool | None = None,
    ) -> None:
        self.main = main
        if not main:
            return
        self.total_steps = total_steps
        self.last: dict[str, float] = {}
        self._times: deque[tuple[int, float]] = deque([(resumed, time.monotonic())], maxlen=_RECENT)
        folder = Path(run_dir)
        folder.mkdir(parents=True, exist_ok=True)
        cut_metrics(folder / "metrics.jsonl", resumed)
        self._file = (folder / "metrics.jsonl").open("a", encoding="utf-8")
        self._board = Board(folder / "tensorboard", resumed + 1 if resumed else None)
        shown = sys.stdout.isatty() if terminal is None else terminal
        self._console = Console(file=sys.stdout, force_terminal=shown, highlight=False, soft_wrap=not shown)
        self._bar = _progress_bar(self._console) if shown else None
        if self._bar is not None:
            self._task = self._bar.add_task("", total=total_steps, completed=resumed, figures="")
            self._bar.start()

    def tick(self, step: int) -> None:
        """Move the progress bar; cheap enough for every step."""
        if self.main and self._bar is not None:
            self._bar.update(self._task, completed=step)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Write the figures of ``step`` everywhere and show the most important ones."""
        if not self.main:
            return
        if "loss" not in metrics:
            raise ValueError(f"a logged step needs 'loss'; got {sorted(metrics)}")
        self._times.append((step, time.monotonic()))
        self.last |= metrics
        record = {"step": step} | {k: v if math.isfinite(v) else None for k, v in metrics.items()}
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()
        self._board.scalars(step, metrics)
        figures = [form.format(self.last[name]) for name, form in _SHOWN.items() if name in self.last]
        figures.append(f"eta {_clock(self.seconds_left())}")
        if self._bar is not None:
            self._bar.update(self._task, completed=step, figures="  ".join(figures))
        else:
            width = len(str(self.total_steps))
            self._say(f"step {step:>{width}}/{self.total_steps}  " + "  ".join(figures))

    def picture(self, step: int, name: str, image: UInt8[Tensor, "c y x"]) -> None:
        """Write a picture to TensorBoard."""
        if self.main:
            self._board.picture(step, name, image)

    def note(self, text: str) -> None:
        """Print a line above the progress bar (or among the plain lines)."""
        if self.main:
            self._say(text)

    def seconds_left(self) -> float | None:
        """Estimate the time to the last step from the recent pace; None before there is one."""
        (first, then), (step, now) = self._times[0], self._times[-1]
        return None if step <= first else (self.total_steps - step) * (now - then) / (step - first)

    def close(self) -> None:
        """Finish the bar and the files; twice is harmless."""
        if self.main:
            if self._bar is not None:
                self._bar.stop()
            self._board.close()
            self._file.close()

    def __enter__(self) -> Logbook:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _say(self, text: str) -> None:
        # A markup-free print: file names hold brackets. With a bar it lands above it.
        self._console.print(text, markup=False)


def cut_metrics(path: Path | str, step: int) -> int:
    """Drop the records of ``metrics.jsonl`` after ``step``, and torn lines; return how many went.

    The file is replaced in one move; a file that needs no cut, or is not there, is left alone.
    """
    path = Path(path)
    if not path.exists():
        return 0
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    kept = [line for line in lines if _step_of(line) <= step]
    text = "".join(line + "\n" for line in kept)
    if text == "\n".join(lines):
        return 0
    staging = path.with_name(".staging-" + path.name)
    with staging.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(staging, path)
    return sum(1 for line in lines if line) - len(kept)


def _step_of(line: str) -> float:
    """Return the step of a record; infinity for a torn one, so that it never counts as early enough."""
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return math.inf


def _progress_bar(console: Console) -> Progress:
    return Progress(
        BarColumn(bar_width=None),
        TextColumn("{task.completed:.0f}/{task.total:.0f}"),
        TextColumn("{task.fields[figures]}"),
        console=console,
        refresh_per_second=4,
    )


def _clock(seconds: float | None) -> str:
    """Write a time left as 1:02:03 or 2:03."""
    if seconds is None:
        return "-"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
