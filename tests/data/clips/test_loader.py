"""The loader: one order for any number of workers and ranks, bad files replaced, workers that behave."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.data.made_clips import make_video
from worldjepa.data.clips.badfiles import NoGoodFileError
from worldjepa.data.clips.listing import FileList, list_files
from worldjepa.data.clips.loader import (
    ClipLoader,
    Source,
    clip_loader,
    default_num_workers,
    evaluation_loader,
)
from worldjepa.data.clips.order import SampleOrder
from worldjepa.data.clips.sampling import ClipSampling
from worldjepa.data.clips.transforms import TrainTransform
from worldjepa.data.deadline import Deadline
from worldjepa.data.video.reader import read_clip
from worldjepa.data.video.reader_pyav import PyavReader
from worldjepa.data.workers import StepLoader, WorkersDiedError
from worldjepa.types import BadFile, Batch


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    """Six good files in two classes and three bad ones."""
    root = tmp_path_factory.mktemp("corpus")
    for kind in ("run", "sit"):
        (root / kind).mkdir()
        for i in range(3):
            make_video(root / kind / f"{i}.mp4", count=10 + i, gop=4)
    whole = (root / "run/0.mp4").read_bytes()
    (root / "run/empty.mp4").write_bytes(b"")
    (root / "sit/page.mp4").write_bytes(b"<html></html>" * 50)
    (root / "sit/cut.mp4").write_bytes(whole[: len(whole) // 2])
    return root


@pytest.fixture(scope="module")
def files(corpus) -> FileList:
    return list_files(corpus)


def load(sources, **changed) -> ClipLoader:
    settings = {"sampling": ClipSampling(4, fps=12.5), "transform": TrainTransform(16)}
    settings |= {"batch_size": 4, "seed": 7, "last_step": 6}
    sources = sources if isinstance(sources, list) else [Source(sources)]
    return clip_loader(sources, **(settings | changed))


def tensors(batch: Batch) -> tuple[torch.Tensor, ...]:
    assert batch.second is not None and batch.labels is not None
    return batch.frames, batch.second, batch.labels


def all_labels(batches: list[Batch]) -> torch.Tensor:
    return torch.cat([batch.labels for batch in batches if batch.labels is not None])


def test_the_same_samples_for_any_number_of_workers_and_ranks(files):
    reference = list(load(files, views=2))
    assert len(reference) == 6
    for workers in (1, 4):
        with load(files, views=2, num_workers=workers) as batches:
            for one, other in zip(reference, batches, strict=True):
                assert all(torch.equal(a, b) for a, b in zip(tensors(one), tensors(other), strict=True))
                assert (one.paths, one.bad) == (other.paths, other.bad)
    for ranks in (2, 4):
        parts = [list(load(files, views=2, rank=r, world_size=ranks)) for r in range(ranks)]
        for step, one in enumerate(reference):
            shares = zip(*(tensors(part[step]) for part in parts), strict=True)
            for whole, share in zip(tensors(one), shares, strict=True):
                assert torch.equal(whole, torch.cat(share))
            assert one.paths == sum((part[step].paths for part in parts), ())
            assert one.bad == sum((part[step].bad for part in parts), ())


def test_a_run_continued_sees_what_it_would_have_seen(files):
    whole = list(load(files))
    for one, other in zip(whole[4:], load(files, first_step=4), strict=True):
        assert torch.equal(one.frames, other.frames) and one.paths == other.paths
    assert not torch.equal(whole[0].frames, next(load(files, seed=8)).frames)


def test_bad_files_are_replaced_and_reported(files):
    batches = list(load(files, last_step=18))  # 72 samples: eight passes over nine files
    bad = {os.path.basename(file.path): file.reason for batch in batches for file in batch.bad}
    assert set(bad) == {"empty.mp4", "page.mp4", "cut.mp4"}
    assert bad["empty.mp4"] == "is empty (0 bytes)"
    paths = [path for batch in batches for path in batch.paths]
    assert len(paths) == 72 and {os.path.basename(path) for path in paths} == {"0.mp4", "1.mp4", "2.mp4"}
    for path in set(paths):  # each of the six in its own eight passes, and for others
        assert paths.count(path) >= 8
    kinds = [os.path.basename(os.path.dirname(path)) for path in paths]
    labels = all_labels(batches).tolist()
    assert [files.classes[label] for label in labels] == kinds


def test_a_single_good_file_is_found_among_many_bad(files, tmp_path):
    good = make_video(tmp_path / "good.mp4", count=5)
    paths = [str(tmp_path / f"missing{i}.mp4") for i in range(60)]
    lonely = FileList((*paths, str(good)), (-1,) * 61, (), str(tmp_path))
    assert next(load(lonely)).paths == (str(good),) * 4
    none = FileList(tuple(paths), (-1,) * 60, (), str(tmp_path))
    for workers in (0, 1):
        with pytest.raises(NoGoodFileError, match="all 60 files tried are bad; for example"):
            next(load(none, num_workers=workers))


def test_clips_have_the_right_frames(tmp_path):
    """Without crop and flip the frames' own numbers can be read: evenly spaced, one cut for both views."""
    paths = [str(make_video(tmp_path / f"{i}.mp4", count=24)) for i in range(2)]
    files = FileList(tuple(paths), (0, 1), ("a", "b"), str(tmp_path))
    batches = evaluation_loader(files, sampling=ClipSampling(4, frame_skip=5), size=42, batch_size=2)
    batch = next(batches)
    assert batch.frames.shape == (2, 4, 3, 42, 42) and batch.paths == files.paths
    # The cut spans 16 frames: it starts at 0 .. 8, the centre is 4. Decoded as they are (48 rows), the frames
    # keep columns 43 .. 84 of 128, in which cells 3 and 4 (bits 4 and 3) stand at 5 .. 20 and 21 .. 36.
    cells = batch.frames[0].float().mean(dim=1)[:, 4:10]
    bits = [[int(cells[f, :, x].mean() > 125) for x in (11, 28)] for f in range(4)]
    assert bits == [[number >> 4 & 1, number >> 3 & 1] for number in (4, 9, 14, 19)]


def test_epochs_cut_and_crop_anew(files):
    one = FileList(files.paths[:1], files.labels[:1], files.classes, files.root)
    batches = list(load(one, batch_size=1))
    assert all(not torch.equal(batches[0].frames, other.frames) for other in batches[1:])


def test_mixtures_draw_by_weight(files):
    run = files.take(i for i, label in enumerate(files.labels) if label == 0)
    sit = files.take(i for i, label in enumerate(files.labels) if label == 1)
    batches = list(load([Source(run, 3.0), Source(sit, 1.0)], batch_size=64, last_step=4))
    labels = all_labels(batches)
    assert 0.15 < labels.float().mean() < 0.35


def test_images_are_clips_of_one_frame(tmp_path):
    for i in range(5):
        Image.fromarray(np.full((20, 30, 3), 40 * i, np.uint8)).save(tmp_path / f"{i}.png")
    batch = next(load(list_files(tmp_path), sampling=ClipSampling(1), batch_size=5, last_step=1))
    assert batch.frames.shape == (5, 1, 3, 16, 16)
    assert sorted(batch.frames.flatten(1).float().mean(dim=1).tolist()) == [0, 40, 80, 120, 160]


@pytest.mark.parametrize("workers", [0, 2])
def test_evaluation_goes_through_the_list_in_order(files, workers):
    with evaluation_loader(
        files, sampling=ClipSampling(2, fps=5.0), size=16, batch_size=4, num_workers=workers
    ) as loader:
        batches = list(loader)
    good = [path for path in files.paths if os.path.basename(path)[0].isdigit()]
    assert [path for batch in batches for path in batch.paths] == good
    assert all_labels(batches).tolist() == [0, 0, 0, 1, 1, 1]
    assert len([file for batch in batches for file in batch.bad]) == 3


def test_settings_that_make_no_sense(files):
    with pytest.raises(ValueError, match=r"batch_size=4 .* multiple of 3"):
        load(files, world_size=3)
    with pytest.raises(ValueError, match="num_workers=-1"):
        load(files, num_workers=-1)
    with pytest.raises(ValueError, match=r"data.reader='pyva' is unknown; did you mean 'pyav'"):
        load(files, reader="pyva")
    assert 0 <= default_num_workers() <= 8


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


def test_workers_end_when_the_main_process_is_killed(files):
    """The main process here is a child of ours, so that we can kill it."""
    receive, send = multiprocessing.Pipe(duplex=False)
    context = multiprocessing.get_context("fork")
    main = context.Process(target=_load_and_wait, args=(files, send))
    main.start()
    send.close()  # ours; if the child dies, recv meets the end of the pipe
    assert receive.poll(60), "the child says nothing"
    workers = receive.recv()
    assert len(workers) == 2 and all(_runs(worker) for worker in workers)
    assert main.pid is not None
    os.kill(main.pid, signal.SIGKILL)
    main.join(10)
    start = time.monotonic()
    while any(_runs(worker) for worker in workers):
        assert time.monotonic() - start < 10
        time.sleep(0.05)


def _load_and_wait(files, send) -> None:
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


def test_views_of_a_file_are_rows_side_by_side(tmp_path):
    for name in ("one", "two"):
        make_video(tmp_path / f"{name}.mp4", count=16, gop=4)
    files, sampling = list_files(tmp_path), ClipSampling(4, frame_skip=2)
    settings = {"sampling": sampling, "size": 24, "batch_size": 2}
    with evaluation_loader(files, segments=2, crops=3, **settings) as clips:
        batch = next(clips)
    assert batch.frames.shape == (12, 4, 3, 24, 24)
    assert batch.paths == (files.paths[0],) * 6 + (files.paths[1],) * 6
    frames = sampling.indices(np.arange(16) / 12.5, 0.25)
    whole = read_clip(files.paths[0], indices=frames, size=27)
    width, top = whole.shape[-1], round((whole.shape[-2] - 24) / 2)
    for crop, place in enumerate((0, 0.5, 1)):
        left = round(place * (width - 24))
        torch.testing.assert_close(batch.frames[crop], whole[..., top : top + 24, left : left + 24])
    assert not torch.equal(batch.frames[:3], batch.frames[3:6])  # another segment
