"""Processes of their own that begin at once: forked from one that holds torch, which takes seconds to load.

For what a command does once it runs: signals, kills, several ranks. That a command starts from nothing, as a
user starts it, is tested where ``subprocess`` is used.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["worldjepa.stages", "torch._dynamo", "torch.utils.tensorboard"])


class Fork:
    """``job(*args)`` in a process of its own, which ends with the status that it returns; as ``Popen``."""

    def __init__(self, job: Callable[..., Any], *args: Any, env: Mapping[str, str] | None = None):
        self._home = tempfile.TemporaryDirectory(prefix="fork", ignore_cleanup_errors=True)
        self._folder = Path(self._home.name)
        environment = {**os.environ, "OMP_NUM_THREADS": "1", **(env or {})}
        given = (job, args, str(self._folder), os.getcwd(), environment)
        self._process = _CONTEXT.Process(target=_do, args=given)
        self._process.start()
        atexit.register(self.kill)  # else a failed test would leave something to wait for at the end

    @property
    def pid(self) -> int:
        """The process's number."""
        assert self._process.pid is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """The status it ended with, minus the signal that ended it; None while it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """Return ``returncode``."""
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout: float) -> tuple[str, str]:
        """Wait for its end; return what it wrote to its output and its error output.

        Raises:
            subprocess.TimeoutExpired: it still runs after ``timeout`` seconds.
        """
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(str(self._process), timeout)
        out, err = ((self._folder / name).read_text(encoding="utf-8") for name in ("out", "err"))
        return out, err


def fork_ranks(job: Callable[..., Any], *args: Any) -> list[Fork]:
    """Return two processes that find each other as torchrun's do, each at ``job(*args)``."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    common = {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    return [Fork(job, *args, env=common | {"RANK": str(i), "LOCAL_RANK": str(i)}) for i in range(2)]


def _do(job: Callable[..., Any], args: tuple[Any, ...], folder: str, cwd: str, env: dict[str, str]) -> None:
    """Do it as a fresh process would: where and with what environment it was started."""
    import torch

    for stream, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(f"{folder}/{name}", os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    multiprocessing.set_start_method(None, force=True)  # pyright: ignore[reportArgumentType]
    torch.set_num_threads(1)
    sys.exit(job(*args))
