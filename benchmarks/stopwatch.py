"""Seconds by part of a step, and what a matrix product can reach at best in the same minute."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.process_time}


class Stopwatch:
    """Adds up the seconds of named parts; ``clock``: wall, or cpu (what the process itself was given)."""

    def __init__(self, clock: str = "wall"):
        self.now = CLOCKS[clock]
        self.seconds: dict[str, float] = defaultdict(float)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Time what happens inside."""
        began = self.now()
        yield
        self.seconds[name] += self.now() - began

    def timing(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return ``function`` with its calls added to part ``name``."""

        def timed(*args: Any) -> Any:
            with self.part(name):
                return function(*args)

        return timed


def peak_flops(dtype: torch.dtype, clock: str, side: int = 2048, tries: int = 3) -> float:
    """Return the floating-point operations a second of the best of a few square matrix products."""
    a, b = torch.randn(2, side, side).to(dtype)
    watch = Stopwatch(clock)
    best = float("inf")
    for _ in range(tries + 1):
        watch.seconds.clear()
        with watch.part("product"):
            torch.mm(a, b)
        best = min(best, watch.seconds["product"])
    return 2 * side**3 / best
