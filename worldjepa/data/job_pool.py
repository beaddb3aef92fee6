"""Jobs in processes of their own: one that dies or hangs costs its job and nothing else.

Each process is a fresh interpreter and not a fork (forks are unsafe once torch has started threads), in a
session of its own, so that a Ctrl-C in the terminal reaches the main process alone.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe, wait
from typing import Any

from worldjepa.data.child import end_with, import_path


class JobError(RuntimeError):
    """A job raised: a fault of ours, with the traceback of the process that it ran in."""


@dataclass(frozen=True)
class Lost:
    """Takes the place of the result of a job whose process died or hung."""

    reason: str


@dataclass(frozen=True)
class _Raised:
    """What a job that raised sends in place of a result."""

    trace: str


def run_jobs(
    function: str, jobs: Sequence[Any], *, processes: int, timeout_s: float | None = None, ahead: int = 32
) -> Iterator[Any]:
    """Yield ``function(job)``, or ``Lost``, for each of ``jobs``, in their order.

    ``function`` is ``package.module:name``; jobs and results are pickled. At most ``ahead`` jobs are begun
    before the oldest one's result was taken. Processes start when they are first needed and end with the
    generator. Raises ``JobError`` if a job raises.
    """
    workers: list[_Worker] = []
    results: dict[int, Any] = {}
    begun = 0
    try:
        for number in range(len(jobs)):
            while number not in results:
                while begun < min(len(jobs), number + ahead):
                    free = next((worker for worker in workers if worker.job is None), None)
                    if free is None and len(workers) < processes:
                        free = _Worker(function)
                        workers.append(free)
                    if free is None:
                        break
                    free.start(begun, jobs[begun])
                    begun += 1
                for worker in _answering(workers, timeout_s):
                    assert worker.job is not None
                    results[worker.job], alive = worker.answer(timeout_s)
                    worker.job = None
                    if not alive:
                        workers.remove(worker)
            yield results.pop(number)
    finally:
        for worker in workers:
            worker.end()


def _answering(workers: Sequence[_Worker], timeout_s: float | None) -> list[_Worker]:
    """Wait until a busy worker has an answer, has died or has been at its job for too long."""
    busy = [worker for worker in workers if worker.job is not None]
    left = None
    if timeout_s is not None:
        left = max(0.0, min(worker.began + timeout_s for worker in busy) - time.monotonic())
    ready = wait([worker.pipe for worker in busy], left)
    now = time.monotonic()
    late = [] if timeout_s is None else [w for w in busy if now >= w.began + timeout_s]
    return [worker for worker in busy if worker.pipe in ready or worker in late]


class _Worker:
    """One process; ``job`` is the number of the job that it is at."""

    def __init__(self, function: str):
        self.pipe, theirs = Pipe()
        self.job: int | None = None
        self.began = 0.0
        script = f"from {__name__} import _main; _main()"
        environment = os.environ | {"PYTHONPATH": import_path(), "OMP_NUM_THREADS": "1"}
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", script, function, str(theirs.fileno()), str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,  # decoders chat there; what a job raises comes as its answer
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
                env=environment,
            )

    def start(self, number: int, job: Any) -> None:
        self.job, self.began = number, time.monotonic()
        with contextlib.suppress(OSError):  # it is dead, and that is found when the answer is looked for
            self.pipe.send(job)

    def answer(self, timeout_s: float | None) -> tuple[Any, bool]:
        """Return the job's result or ``Lost``, and whether the process goes on."""
        try:
            if self.pipe.poll():
                result = self.pipe.recv()
                if isinstance(result, _Raised):
                    raise JobError(result.trace)
                return result, True
        except (EOFError, OSError):
            code = self._process.wait()
            self.end()
            how = f"died of {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
            return Lost(f"the process that read it {how}"), False
        self.end()
        return Lost(f"reading it took longer than {timeout_s:g} s"), False

    def end(self) -> None:
        """Kill the process; twice is harmless."""
        self._process.kill()
        self._process.wait()
        self.pipe.close()


def _main() -> None:
    """Run jobs until the main process closes the pipe or ends."""
    name, handle, parent = sys.argv[1:]
    end_with(int(parent))
    module, _, function = name.partition(":")
    call = getattr(importlib.import_module(module), function)
    with Connection(int(handle)) as pipe, contextlib.suppress(EOFError):
        while True:
            job = pipe.recv()
            try:
                result = call(job)
            except Exception:  # whatever it is, the main process raises it
                result = _Raised(traceback.format_exc())
            pipe.send(result)
