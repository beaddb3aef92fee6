"""Batches for training and for evaluation.

Step ``s`` of a run takes the samples ``s * batch_size`` to ``(s + 1) * batch_size - 1`` of the sample
order (``order.py``), and rank ``r`` a contiguous part of them: neither workers nor ranks nor a restart
change what is drawn.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from worldjepa.data.clips.badfiles import no_good_file
from worldjepa.data.clips.listing import FileList
from worldjepa.data.clips.order import SampleOrder
from worldjepa.data.clips.samples import ClipCutter, EvaluationClips, Sample, TrainingClips
from worldjepa.data.clips.sampling import ClipSampling
from worldjepa.data.clips.transforms import Transform
from worldjepa.data.deadline import UNLIMITED, Deadline
from worldjepa.data.video.index import index_path
from worldjepa.data.video.index_memory import index_memory
from worldjepa.data.video.reader import Reader, open_reader
from worldjepa.data.video.store_reader import StoreReader
from worldjepa.data.workers import StepLoader
from worldjepa.hardware import usable_cores
from worldjepa.types import BadFile, Batch


@dataclass(frozen=True)
class Source:
    """One corpus of a mixture and its weight among them."""

    files: FileList
    weight: float = 1.0


class ClipLoader(Iterator[Batch]):
    """An iterator of batches that owns worker processes; ``close`` (or ``with``) ends them."""

    def __init__(self, steps: StepLoader, batches: Iterator[Batch]):
        self._steps, self._batches = steps, batches

    def __next__(self) -> Batch:
        return next(self._batches)

    def close(self) -> None:
        """End the workers."""
        self._steps.close()

    def __enter__(self) -> ClipLoader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def clip_loader(
    sources: Sequence[Source],
    *,
    sampling: ClipSampling,
    transform: Transform,
    batch_size: int,
    seed: int,
    last_step: int,
    first_step: int = 0,
    rank: int = 0,
    world_size: int = 1,
    views: int = 1,
    reader: str = "pyav",
    index: str | None = "off",
    timeout_s: float | None = None,
    timed_out: Sequence[BadFile] = (),
    num_workers: int = 0,
    pin_memory: bool = False,
) -> ClipLoader:
    """Return the training batches of steps ``first_step`` to ``last_step - 1`` for one rank.

    ``batch_size`` is that of all ranks together, ``index`` that of ``files_reader``. ``views=2`` cuts a
    second clip of each video, into ``Batch.second``. A file of which a clip takes more than ``timeout_s`` to
    decode is bad from that sample on (``timed_out``: what was found so before the run was continued); a
    decoder that hangs is ended with its worker (without workers it cannot be). Iterating raises
    ``NoGoodFileError`` when a draw meets bad files only.
    """
    share = check_share(batch_size, world_size)
    if views not in (1, 2):
        raise ValueError(f"views={views}: expected 1, or 2 for a second clip of each video")
    order = SampleOrder([len(s.files.paths) for s in sources], [s.weight for s in sources], seed)
    files = [source.files for source in sources]
    deadline = Deadline(timeout_s, num_workers)
    cutters = [ClipCutter(sampling, transform, files_reader(one, reader, index, deadline)) for one in files]
    dataset = TrainingClips(files, order, cutters, views, seed, deadline, timed_out)
    rows = RankRows(batch_size, rank * share, share)
    steps = StepLoader(
        dataset,
        rows,
        first_step,
        last_step,
        collate=pack,
        num_workers=num_workers,
        pin_memory=pin_memory,
        watched=dataset,
    )
    return ClipLoader(steps, _training_batches(steps, dataset))


def evaluation_loader(
    files: FileList,
    *,
    sampling: ClipSampling,
    size: int,
    batch_size: int,
    segments: int = 1,
    crops: int = 1,
    reader: str = "pyav",
    index: str | None = "off",
    timeout_s: float | None = None,
    num_workers: int = 0,
    pin_memory: bool = False,
) -> ClipLoader:
    """Return the centre clip of every file, in order, without augmentation, labels included.

    More ``segments`` or ``crops`` give more views of each file (see ``EvaluationClips``), a row each, so that
    a batch of ``batch_size`` files has as many times the rows. Batches may be smaller: a bad file is left
    out, and listed in ``Batch.bad``. Iterating raises ``NoGoodFileError`` when there is no good file in the
    list.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size={batch_size}: expected 1 or more")
    deadline = Deadline(timeout_s, num_workers)
    video = files_reader(files, reader, index, deadline)
    dataset = EvaluationClips(files, sampling, size, video, segments, crops, deadline)
    rows = OrderedRows(batch_size, len(dataset))
    num_steps = -(-len(dataset) // batch_size)
    steps = StepLoader(
        dataset,
        rows,
        0,
        num_steps,
        collate=pack,
        num_workers=num_workers,
        pin_memory=pin_memory,
        watched=dataset,
    )
    return ClipLoader(steps, _evaluation_batches(steps))


def files_reader(files: FileList, reader: str, index: str | None, deadline: Deadline = UNLIMITED) -> Reader:
    """Return what reads the files of a list: for a prepared store its own reader, else the one named.

    ``index`` is ``data.index``: what is known of the files and will be: a file, None (the one in the cache
    folder) or off.
    """
    if files.prepared:
        return StoreReader(files.root)
    memory = None if index == "off" else index_memory(index_path(files.root, index), files.base)
    return open_reader(reader, memory, deadline)


def _training_batches(steps: StepLoader, dataset: TrainingClips) -> Iterator[Batch]:
    for packed in steps:
        if packed.empty:
            steps.close()
            raise no_good_file(packed.bad)
        if dataset.learn(packed.bad):  # what was fetched ahead may hold files that a worker gave up
            steps.renew()
        yield packed.batch()


def _evaluation_batches(steps: StepLoader) -> Iterator[Batch]:
    """Yield batches one late: what is said of bad files alone goes with the batch before, or the first."""
    held: Batch | None = None
    bad: tuple[BadFile, ...] = ()
    for packed in steps:
        if not packed.views:
            bad += packed.bad
            continue
        if held is not None:
            yield replace(held, bad=held.bad + bad)
            bad = ()
        held = packed.views_as_rows()
    if held is not None:
        yield replace(held, bad=held.bad + bad)
    elif bad:
        raise no_good_file(bad)


def check_share(batch_size: int, world_size: int) -> int:
    """Return the rows of one rank; ``ValueError`` unless every rank has as many."""
    if batch_size < 1 or batch_size % world_size:
        raise ValueError(
            f"train.batch_size={batch_size} is that of all ranks: expected a multiple of {world_size}"
        )
    return batch_size // world_size


def default_num_workers(world_size: int = 1) -> int:
    """Return a number of workers for each rank on this machine: its cores but one, 8 at most."""
    return max(0, min(8, usable_cores() // world_size - 1))


@dataclass(frozen=True)
class RankRows:
    """Sample numbers of one rank at a step. A class, not a closure: workers may be spawned."""

    batch_size: int
    start: int
    count: int

    def __call__(self, step: int) -> list[int]:
        first = step * self.batch_size + self.start
        return list(range(first, first + self.count))


@dataclass(frozen=True)
class OrderedRows:
    """Sample numbers at a step, one after the other up to ``total``."""

    batch_size: int
    total: int

    def __call__(self, step: int) -> list[int]:
        return list(range(step * self.batch_size, min(self.total, (step + 1) * self.batch_size)))


@dataclass(frozen=True)
class Packed:
    """A batch on its way out of a worker. ``empty``: a sample of it has no view."""

    views: tuple[UInt8[Tensor, "b f c y x"], ...]
    labels: Int[Tensor, " b"]
    paths: tuple[str, ...]
    bad: tuple[BadFile, ...]
    empty: bool

    def batch(self) -> Batch:
        """Return it as the type that leaves the room."""
        frames, *others = self.views
        second = others[0] if others else None
        return Batch(frames, second=second, labels=self.labels, paths=self.paths, bad=self.bad)

    def views_as_rows(self) -> Batch:
        """Return every view as a row, those of a file next to each other."""
        views = len(self.views)
        frames = self.views[0] if views == 1 else torch.stack(self.views, dim=1).flatten(0, 1)
        paths = tuple(path for path in self.paths for _ in range(views))
        return Batch(frames, labels=self.labels.repeat_interleave(views), paths=paths, bad=self.bad)

    def pin_memory(self) -> Packed:
        """Return the batch in page-locked memory (torch's pinning thread calls this)."""
        return replace(self, views=tuple(view.pin_memory() for view in self.views))


def pack(samples: list[Sample]) -> Packed:
    """Stack the samples that have views; keep what the others say about bad files."""
    good = [sample for sample in samples if sample.views]
    return Packed(
        views=tuple(torch.stack(views) for views in zip(*(sample.views for sample in good), strict=True)),
        labels=torch.tensor([sample.label for sample in good], dtype=torch.int64),
        paths=tuple(sample.path for sample in good),
        bad=tuple(file for sample in samples for file in sample.bad),
        empty=len(good) < len(samples),
    )
