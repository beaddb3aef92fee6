"""Workers of the loader: killed, hanging or left behind, they change no sample and never outlive the run."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch

from tests.data.clips.loading import load, write_corpus
from tests.forks import Fork
from worldjepa.data.clips.listing import FileList, list_files
from worldjepa.data.clips.order import SampleOrder
from worldjepa.data.deadline import Deadline
from worldjepa.data.video.reader_pyav import PyavReader
from worldjepa.data.workers import StepLoader, WorkersDiedError
from worldjepa.types import BadFile, Batch


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def files(corpus) -> FileList:
    return list_files(corpus)


def children() -> list[BaseProcess]:
    return multiprocessing.active_children()


def kill(worker: BaseProcess, number: signal.Signals) -> None:
    assert worker.pid is not None
    os.kill(worker.pid, number)


def test_a_killed_worker_changes_nothing(files, caplog):
    reference = list(load(files, last_step=12))
    with load(files, last_step=12, num_workers=2) as batches:
        seen = [next(batches) for _ in range(3)]
        kill(children()[0], signal.SIGKILL)
        seen += list(batches)
    assert [batch.paths for batch in seen] == [batch.paths for batch in reference]
    assert all(torch.equal(a.frames, b.frames) for a, b in zip(seen, reference, strict=True))
    assert "SIGKILL" in caplog.text and "starting the workers anew at step" in caplog.text
    assert not children()


class _Stuck(PyavReader):
    """A reader that never comes back from one file, or only when it looks at the clock."""

    def __init__(self, deadline: Deadline, name: str, hangs: bool):
        super().__init__(deadline=deadline)
        self.name, self.hangs = name, hangs

    def read(self, path, indices, size=None):
        while str(path).endswith(self.name):
            time.sleep(0.02)
            if not self.hangs:
                self._deadline.check()
        return super().read(path, indices, size)


@pytest.fixture
def stuck(monkeypatch) -> Callable[[bool], None]:
    """Return what makes the loader read ``run/1.mp4`` with a reader that is stuck there."""
    monkeypatch.setattr("worldjepa.data.deadline.GRACE_S", 0.2)
    monkeypatch.setattr("worldjepa.data.workers.LOOK_S", 0.2)

    def use(hangs: bool) -> None:
        make = lambda files, reader, index, deadline: _Stuck(deadline, "run/1.mp4", hangs)  # noqa: E731
        monkeypatch.setattr("worldjepa.data.clips.loader.files_reader", make)

    return use


def assert_same(seen: list[Batch], expected: list[Batch]) -> None:
    assert [batch.paths for batch in seen] == [batch.paths for batch in expected]
    assert [batch.bad for batch in seen] == [batch.bad for batch in expected]
    assert all(torch.equal(a.frames, b.frames) for a, b in zip(seen, expected, strict=True))


@pytest.mark.parametrize(("hangs", "workers"), [(True, 2), (False, 2), (False, 0)])
def test_a_file_that_takes_too_long_is_replaced(files, stuck, caplog, hangs, workers):
    """From the sample on at which it was met, whether the reader or the main process ends it."""
    slow = next(path for path in files.paths if path.endswith("run/1.mp4"))
    first = next(number for number, path in enumerate(drawn(files)) if path == slow)
    reason = "decoding a clip took more than data.timeout_s=2 seconds"
    expected = list(load(files, timed_out=[BadFile(slow, reason, first)], timeout_s=2.0))
    stuck(hangs)
    with load(files, num_workers=workers, timeout_s=2.0) as batches:
        seen = list(batches)
    assert_same(seen, expected)
    assert all(slow not in batch.paths for batch in seen)
    assert {file.sample for batch in seen for file in batch.bad if file.path == slow} == {first}
    assert ("a data worker was ended" in caplog.text) == hangs
    assert not children()


def drawn(files: FileList) -> list[str]:
    """Return the file of each sample of ``load``, as if all were good."""
    order = SampleOrder([len(files.paths)], [1.0], 7)
    return [files.paths[order.draw(number).file] for number in range(24)]


def test_what_took_too_long_was_drawn_before(files):
    """A verdict holds from its sample on: a run that goes on from an earlier step draws the file there."""
    good = list(load(files))
    slow = good[0].paths[0]
    late = list(load(files, timed_out=[BadFile(slow, "too long", 12)]))
    assert_same(late[:3], good[:3])
    assert slow in [path for batch in good[3:] for path in batch.paths]
    assert slow not in [path for batch in late[3:] for path in batch.paths]
    assert_same(list(load(files, timed_out=[BadFile(slow, "too long", 12)], first_step=2)), late[2:])


class _Resetting(Iterator):
    """Stands in for torch's iterator: its worker is killed, and the batch it had queued cannot be fetched."""

    def __init__(self, batches):
        self.batches = batches

    def __next__(self):
        if children():
            kill(children()[0], signal.SIGKILL)
        raise ConnectionResetError("Connection reset by peer")


def test_a_batch_lost_with_its_worker_is_made_anew(files, caplog):
    reference = list(load(files))
    with load(files, num_workers=1) as batches:
        seen = [next(batches)]
        batches._steps._batches = _Resetting(batches._steps._batches)
        seen += list(batches)
    assert all(torch.equal(a.frames, b.frames) for a, b in zip(seen, reference, strict=True))
    assert "SIGKILL" in caplog.text


class _Killer(torch.utils.data.Dataset):
    def __getitem__(self, index):
        os.kill(os.getpid(), signal.SIGKILL)


def test_workers_that_always_die_end_the_run(monkeypatch):
    monkeypatch.setattr("worldjepa.data.workers.MAX_RESTARTS", 0)  # torch takes 5 s to notice each
    steps = StepLoader(_Killer(), lambda step: [step], 0, 3, collate=list, num_workers=1)
    with pytest.raises(
        WorkersDiedError, match=r"died 1 times in a row at step 0.*SIGKILL.*num_workers lower"
    ):
        next(steps)
    assert not children()


def test_workers_leave_signals_to_the_main_process_and_end_at_once(files):
    before = signal.getsignal(signal.SIGCHLD)
    batches = load(files, last_step=1000, num_workers=2)
    next(batches)
    assert signal.getsignal(signal.SIGCHLD) is before
    workers = children()
    for worker in workers:
        kill(worker, signal.SIGTERM)
        kill(worker, signal.SIGINT)
    for _ in range(4):
        next(batches)
    assert len(workers) == 2 and all(worker.is_alive() for worker in workers)
    start = time.monotonic()
    batches.close()
    assert time.monotonic() - start < 2
    assert not children()


SCRIPT = """
import multiprocessing, sys
from worldjepa.data.clips.listing import list_files
from worldjepa.data.clips.loader import Source, clip_loader
from worldjepa.data.clips.sampling import ClipSampling
from worldjepa.data.clips.transforms import TrainTransform
batches = clip_loader([Source(list_files(sys.argv[1]))], sampling=ClipSampling(4, fps=5.0), batch_size=2,
                      transform=TrainTransform(16), seed=0, last_step=1000, num_workers=2)
next(batches)
print(*(child.pid for child in multiprocessing.active_children()))
"""


def test_leaving_without_closing_the_loader_is_prompt_and_silent(corpus):
    one_core = "ignore:This DataLoader will create"  # torch's word on more workers than cores
    command = [sys.executable, "-W", one_core, "-c", SCRIPT, str(corpus)]
    main = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (main.returncode, main.stderr) == (0, "")
    workers = [int(word) for word in main.stdout.split()]
    assert len(workers) == 2 and not any(_runs(worker) for worker in workers)


@pytest.mark.parametrize("method", ["fork", pytest.param("forkserver", marks=pytest.mark.slow)])
def test_workers_end_when_the_main_process_is_killed(files, method):
    """The main process here is a child of ours, so that we can kill it."""
    receive, send = multiprocessing.Pipe(duplex=False)
    main = Fork(_load_and_wait, files, method, send)
    send.close()  # ours; if the child dies, recv meets the end of the pipe
    assert receive.poll(60), "the child says nothing"
    workers = receive.recv()
    assert len(workers) == 2 and all(_runs(worker) for worker in workers)
    main.kill()
    main.communicate(timeout=10)
    start = time.monotonic()
    while any(_runs(worker) for worker in workers):
        assert time.monotonic() - start < 10
        time.sleep(0.05)


def _load_and_wait(files, method, send) -> None:
    multiprocessing.set_start_method(method, force=True)
    batches = load(files, last_step=1000, num_workers=2)
    next(batches)
    send.send([child.pid for child in children()])
    time.sleep(60)


def _runs(pid: int) -> bool:
    """Whether the process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
