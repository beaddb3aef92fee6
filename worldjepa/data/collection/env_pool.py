"""Processes of environments under supervision: one that raises, dies or hangs loses only its episode.

Each process (``env_worker.py``) holds one environment and plays one episode at a time. It is a fresh
interpreter and not a fork, for forks are unsafe once torch has started threads, in a session of its own, so
that a Ctrl-C in the terminal reaches the main process alone and whatever an environment starts can be ended
with it.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from multiprocessing.connection import Connection, Pipe, wait
from typing import IO

import cloudpickle
import gymnasium

from worldjepa.data.child import import_path
from worldjepa.data.collection.env_worker import BEAT_BYTES, Beats, Describe, Fault, Job, Mistake, Task
from worldjepa.data.collection.moments import EnvFacts, UnusableEnvError
from worldjepa.data.episodes.episode import Episode
from worldjepa.settings.env import EnvConfig

DESCRIBE_TRIES, HANGS_TRIED = 10, 2
_LOOK_EVERY = 0.25  # seconds between two looks at what the processes are at


class EnvPool:
    """Up to ``env.num_envs`` processes, each started when it is first needed. Use it as a context manager.

    ``start`` gives an episode to a free process, ``wait`` returns what has been finished. A process that
    takes longer than ``env.timeout_s`` for the construction, a reset or a step is ended.
    """

    def __init__(self, env: EnvConfig, *, policy: str, size: int) -> None:
        self._job = Job(env, policy, size, _own_spec(env.id or ""))
        self._idle: list[_Worker] = []
        self._busy: dict[_Worker, Task] = {}

    @property
    def free(self) -> int:
        """How many more episodes can be started now."""
        return self._job.env.num_envs - len(self._busy)

    def describe(self, stop: Callable[[], object] = lambda: False) -> EnvFacts | None:
        """Return what a first reset shows; None if ``stop`` became true meanwhile.

        Raises ``UnusableEnvError`` for what the user has to change, and where no reset succeeds.
        """
        faults: list[Fault] = []
        while len(faults) < DESCRIBE_TRIES and sum(fault.hung for fault in faults) < HANGS_TRIED:
            answer = self._describe_once(len(faults), stop)
            if not isinstance(answer, Fault):
                return answer
            faults.append(answer)
        raise UnusableEnvError(
            f"env.id={self._job.env.id} could not be reset in {len(faults)} tries; the last time: "
            f"{faults[-1].reason}"
        )

    def _describe_once(self, seed: int, stop: Callable[[], object]) -> EnvFacts | Fault | None:
        worker = self._idle.pop() if self._idle else _Worker(self._job)
        answer = None
        try:
            worker.send(Describe(seed))
            while answer is None and not stop():
                wait([worker.requests], _LOOK_EVERY)
                answer = worker.answer(self._job.env.timeout_s)
        finally:
            if answer is None:
                worker.end()
        if worker.alive:
            self._idle.append(worker)
        if isinstance(answer, Mistake):
            raise UnusableEnvError(answer.text)
        assert answer is None or isinstance(answer, EnvFacts | Fault)
        return answer

    def start(self, task: Task) -> None:
        """Let a free process play an episode."""
        worker = self._idle.pop() if self._idle else _Worker(self._job)
        worker.send(task)
        self._busy[worker] = task

    def wait(self) -> list[tuple[Task, Episode | Fault]]:
        """Return the episodes that have come to an end, perhaps none yet; takes a fraction of a second.

        Raises ``UnusableEnvError`` where a policy cannot act.
        """
        wait([worker.requests for worker in self._busy], _LOOK_EVERY)
        ended = []
        for worker, task in list(self._busy.items()):
            answer = worker.answer(self._job.env.timeout_s)
            if answer is None:
                continue
            del self._busy[worker]
            if worker.alive:
                self._idle.append(worker)
            if isinstance(answer, Mistake):
                raise UnusableEnvError(answer.text)
            assert isinstance(answer, Episode | Fault)
            ended.append((task, answer))
        return ended

    def close(self) -> None:
        """End all processes at once; what they are at is dropped."""
        for worker in (*self._idle, *self._busy):
            worker.end()
        self._idle, self._busy = [], {}

    def __enter__(self) -> EnvPool:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class _Worker:
    """One process, and what is known of it."""

    def __init__(self, job: Job) -> None:
        self.requests, theirs = Pipe()
        self._output: IO[bytes] = tempfile.TemporaryFile(mode="a+b", buffering=0)  # noqa: SIM115
        with tempfile.TemporaryFile() as shared, theirs:
            shared.truncate(BEAT_BYTES)
            self._beats = Beats(mmap.mmap(shared.fileno(), BEAT_BYTES))
            self._beats.beat("start")
            self._process = self._born(theirs, shared.fileno())
        self.alive = self._fresh = True
        self._send(job)

    def _born(self, theirs: Connection, shared: int) -> subprocess.Popen[bytes]:
        environment = os.environ | {"PYTHONPATH": import_path()}
        environment.setdefault("OMP_NUM_THREADS", "1")  # the processes share the cores already
        if sys.platform == "linux" and not {"DISPLAY", "WAYLAND_DISPLAY"} & environment.keys():
            environment.setdefault("MUJOCO_GL", "egl")  # without a display MuJoCo would abort
        script = "from worldjepa.data.collection.env_worker import main; main()"
        return subprocess.Popen(
            [sys.executable, "-u", "-c", script, str(os.getpid()), str(theirs.fileno()), str(shared)],
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=self._output,
            pass_fds=(theirs.fileno(), shared),
            start_new_session=True,
            env=environment,
        )

    def send(self, request: Describe | Task) -> None:
        """Ask for something; ``answer`` says what became of it."""
        self._beats.beat("start" if self._fresh else "reset")
        self._fresh = False
        self._send(request)

    def _send(self, message: Job | Describe | Task) -> None:
        with contextlib.suppress(OSError):  # it is dead, and that is found when the answer is looked for
            self.requests.send(message)

    def answer(self, timeout_s: float) -> EnvFacts | Episode | Fault | Mistake | None:
        """Return the answer to what was asked, if there is one; a process that is dead or hung is ended."""
        phase, step, seconds = self._beats.read()
        try:
            if self.requests.poll():
                return self.requests.recv()
        except (EOFError, OSError):
            return Fault(step, f"{phase}: {self._died()}")
        if self._process.poll() is not None and not self.requests.poll():
            return Fault(step, f"{phase}: {self._died()}")
        if seconds > timeout_s:
            self.end()
            return Fault(step, f"{phase}: it hung, for longer than env.timeout_s={timeout_s:g}", hung=True)
        return None

    def _died(self) -> str:
        """End what is left of a process that broke off, and say how it did."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=5)
        code = self._process.poll()
        said = os.pread(self._output.fileno(), 2**16, max(0, os.fstat(self._output.fileno()).st_size - 2**16))
        self.end()
        how = f"died of {signal.Signals(-code).name}" if code and code < 0 else f"ended with exit code {code}"
        lines = said.decode("utf-8", "replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return f"the process {how}" + (f" ({last[:200]})" if last else "")

    def end(self) -> None:
        """Kill the process and all that it started; twice is harmless."""
        if self.alive:
            self.alive = False
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self.requests.close()
            self._beats.close()
            self._output.close()


def _own_spec(env_id: str) -> bytes | None:
    """Return the spec of an id that this very process registered (a notebook, a test), for the workers."""
    spec = gymnasium.registry.get(env_id)
    return None if spec is None else cloudpickle.dumps(spec)
