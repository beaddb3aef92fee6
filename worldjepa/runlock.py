"""One run in a folder: a lock that names its holder and that the kernel frees when the holder dies."""

from __future__ import annotations

import json
import os
import socket
import time
import weakref
from pathlib import Path


class RunLockedError(ValueError):
    """Another process is working in this folder."""


class RunFolderError(ValueError):
    """The folder cannot be made, or nothing can be written into it."""


class RunLock:
    """Holds ``<folder>/lock`` for this process, by ``flock``: the kernel frees it when the process dies.

    ``acquire`` tries for ``wait`` seconds (a process just killed may still be on its way out) and then
    raises ``RunLockedError``, which names the holder; ``RunFolderError`` where no file can be made. Both name
    the ``setting`` that chose the folder. Use it as a context manager.
    """

    def __init__(self, folder: Path | str, *, setting: str = "run.dir", wait: float = 2.0) -> None:
        self.path = Path(folder) / "lock"
        self.setting, self.wait = setting, wait
        self._handle: int | None = None

    def acquire(self) -> RunLock:
        """Take the lock and write process id, host and start time into the file."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise RunFolderError(
                f"{self.setting}={self.path.parent} cannot be written to ({error.strerror}); "
                f"choose a folder that can, with {self.setting}=..."
            ) from error
        if not _flock(handle, self.wait):
            holder = os.pread(handle, 4096, 0).decode("utf-8", "replace")
            os.close(handle)
            raise RunLockedError(
                f"{self.path.parent} is in use by {_holder(holder)}. "
                f"Wait for it, stop it, or choose another folder with {self.setting}=..."
            )
        self._handle = handle
        # A data worker forked from here shares the open file and would keep the lock past our death.
        lock = weakref.ref(self)
        os.register_at_fork(after_in_child=lambda: _forget(lock()))
        owner = {"pid": os.getpid(), "host": socket.gethostname(), "started": time.strftime("%F %T%z")}
        os.ftruncate(handle, 0)
        os.pwrite(handle, (json.dumps(owner) + "\n").encode(), 0)
        return self

    def release(self) -> None:
        """Give the lock back; the file stays, empty, because removing it would race with a new holder."""
        if self._handle is not None:
            os.ftruncate(self._handle, 0)
            os.close(self._handle)
            self._handle = None

    def __enter__(self) -> RunLock:
        return self.acquire()

    def __exit__(self, *exception: object) -> None:
        self.release()


def _flock(handle: int, wait: float) -> bool:
    """Try to lock an open file exclusively for ``wait`` seconds."""
    import fcntl  # not on Windows, where checkpoints can still be read

    deadline = time.monotonic() + wait
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.05)
        else:
            return True


def _forget(lock: RunLock | None) -> None:
    """Drop a forked child's share of the lock without touching the file."""
    if lock is not None and lock._handle is not None:
        os.close(lock._handle)
        lock._handle = None


def _holder(text: str) -> str:
    """Describe the holder of a lock from what it wrote into the file."""
    try:
        owner = json.loads(text)
        return f"process {owner['pid']} on {owner['host']}, started {owner['started']}"
    except (ValueError, KeyError, TypeError):
        return "another process"
