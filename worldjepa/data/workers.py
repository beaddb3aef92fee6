"""Worker processes that outlive signals meant for the main process, but never the main process itself."""

from __future__ import annotations

import atexit
import logging
import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from typing import Any, Protocol, runtime_checkable

from torch.utils.data import DataLoader, Dataset

from worldjepa.data.child import end_with
from worldjepa.data.deadline import Attempt, Deadline

log = logging.getLogger(__name__)

MAX_RESTARTS = 3  # in a row, without a batch between them
LOOK_S = 1  # how often workers are looked at while a batch is waited for
STILL_WAITING = "DataLoader timed out"  # what torch then says; it can be asked again


class WorkersDiedError(RuntimeError):
    """The system keeps killing the worker processes."""


@runtime_checkable
class Watched(Protocol):
    """What is known of the work of a data set's workers, and what becomes of one that hangs."""

    deadline: Deadline

    def give_up(self, attempt: Attempt) -> Any:
        """Take note that this took too long, for the workers that are started next; return what it was."""
        ...


class StepLoader(Iterator[Any]):
    """Yields ``collate([dataset[i] for i in rows(step)])`` for the steps ``first`` to ``last - 1``.

    One DataLoader serves the whole run, so that workers start once. If the system kills a worker, all
    are started anew from the present step; what comes out is the same. One that hangs at an attempt of
    ``watched`` is ended, and all start anew knowing of it. torch's own limits: a death is noticed after 5 s
    at most.
    """

    def __init__(
        self,
        dataset: Dataset,
        rows: Callable[[int], list[int]],
        first: int,
        last: int,
        *,
        collate: Callable[[Any], Any],
        num_workers: int = 0,
        pin_memory: bool = False,
        watched: Watched | None = None,
    ):
        if num_workers < 0:
            raise ValueError(f"data.num_workers={num_workers}: expected 0 (no worker processes) or more")
        self._dataset, self._rows, self._collate = dataset, rows, collate
        self._num_workers, self._pin_memory, self._watched = num_workers, pin_memory, watched
        self._step, self._last = first, last
        self._batches: Iterator[Any] | None = None
        self._workers: list[BaseProcess] = []

    def __next__(self) -> Any:
        if self._step >= self._last:
            self.close()
            raise StopIteration
        batch = self._fetch()
        self._step += 1
        return batch

    def _fetch(self) -> Any:
        """Return the present step's batch, starting the workers anew if they died."""
        restarts = 0
        while True:
            try:
                return next(self._started())
            except (RuntimeError, OSError, EOFError) as error:
                if str(error).startswith(STILL_WAITING):
                    self._end_hung()
                    continue
                # Torch raises RuntimeError. A batch that a dead worker had queued already names shared memory
                # which only that worker could hand over: the connection to it fails, before its end may show.
                if self._workers and not isinstance(error, RuntimeError):
                    ended = wait([worker.sentinel for worker in self._workers], timeout=5)
                    for worker in self._workers:
                        worker.join(timeout=5 if worker.sentinel in ended else 0)
                dead = [w for w in self._workers if w.exitcode not in (None, 0)]
                self.close()
                if not dead:
                    raise
                how = ", ".join(f"{w.pid} ({_death(w.exitcode)})" for w in dead)
                if restarts == MAX_RESTARTS:
                    raise WorkersDiedError(
                        f"data workers died {restarts + 1} times in a row at step {self._step}: {how}; "
                        "if memory or /dev/shm ran out, set data.num_workers lower"
                    ) from error
                restarts += 1
                log.warning("data worker %s died; starting the workers anew at step %d", how, self._step)

    def _end_hung(self) -> None:
        """End the workers if one hangs: if what it was at still stands there when it is ended."""
        assert self._watched is not None
        deadline = self._watched.deadline
        hung = deadline.overdue()
        if hung:
            self.close()
            still = deadline.overdue()
            for attempt in (attempt for attempt in hung if attempt in still):
                log.warning(
                    "a data worker was ended: %s; starting the workers anew at step %d",
                    self._watched.give_up(attempt),
                    self._step,
                )
            deadline.clear()

    def renew(self) -> None:
        """Drop what was fetched ahead: workers that know what the data set knows make the next batch."""
        if self._num_workers:
            self.close()

    def close(self) -> None:
        """End the workers at once. They hold nothing that would have to be saved."""
        for worker in self._workers:
            worker.kill()
        for worker in self._workers:
            worker.join(timeout=5)  # one that waits for a dead disk cannot be ended
        self._batches = None  # torch's iterator joins its (ended) workers when it goes
        self._workers = []
        atexit.unregister(self.close)

    @property
    def _looking(self) -> bool:
        watched = self._watched
        return bool(self._num_workers) and watched is not None and watched.deadline.seconds is not None

    def _started(self) -> Iterator[Any]:
        if self._batches is None:
            loader = DataLoader(
                self._dataset,
                batch_sampler=_Rows(self._rows, self._step, self._last),
                num_workers=self._num_workers,
                collate_fn=self._collate,
                pin_memory=self._pin_memory,
                worker_init_fn=_init_worker,
                timeout=LOOK_S if self._looking else 0,
            )
            before = set(multiprocessing.active_children())
            with _quiet_birth():
                self._batches = iter(loader)
            self._workers = [w for w in multiprocessing.active_children() if w not in before]
            # Registered after torch's own handlers, hence run before them: they would wait for each worker.
            atexit.register(self.close)
        return self._batches


class _Rows:
    """A batch sampler over steps."""

    def __init__(self, rows: Callable[[int], list[int]], first: int, last: int):
        self._rows, self._first, self._last = rows, first, last

    def __iter__(self) -> Iterator[list[int]]:
        return (self._rows(step) for step in range(self._first, self._last))

    def __len__(self) -> int:
        return max(0, self._last - self._first)


@contextmanager
def _quiet_birth() -> Iterator[None]:
    """Start processes with SIGINT and SIGTERM blocked, and keep torch's SIGCHLD handler from staying.

    The block closes the gap until a worker ignores them. The handler would raise in the middle of a
    training step when a worker dies; without it, the death shows at the next batch.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    on_child = signal.getsignal(signal.SIGCHLD)
    held = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        if in_main_thread and on_child is not None:
            signal.signal(signal.SIGCHLD, on_child)
        signal.pthread_sigmask(signal.SIG_SETMASK, held)


def _init_worker(worker_id: int) -> None:
    """Leave SIGINT and SIGTERM to the main process, and end when it ends, however it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})
    parent = multiprocessing.parent_process()
    assert parent is not None and parent.pid is not None
    end_with(parent.pid)


def _death(exitcode: int | None) -> str:
    if exitcode is not None and exitcode < 0:
        return signal.Signals(-exitcode).name
    return f"exit code {exitcode}"
