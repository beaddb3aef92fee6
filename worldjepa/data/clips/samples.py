"""One sample: choose the file, cut the clip, augment it; a bad file is replaced by a seeded other one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor
from torch.utils.data import Dataset

from worldjepa.data.clips.listing import IMAGE_EXTENSIONS, FileList
from worldjepa.data.clips.order import CLIP, REPLACEMENT, Draw, SampleOrder
from worldjepa.data.clips.sampling import CENTRE, ClipSampling
from worldjepa.data.clips.transforms import EvalTransform, Transform
from worldjepa.data.deadline import UNLIMITED, Attempt, Deadline, OutOfTimeError
from worldjepa.data.video.reader import BadVideoError, Reader, UnsupportedVideoError, open_reader
from worldjepa.seeding import derive_seed
from worldjepa.types import BadFile

MAX_REPLACEMENTS = 100

Clip = UInt8[Tensor, "f c y x"]
Views = tuple[Clip, ...]


@dataclass(frozen=True)
class Sample:
    """The views of one video (none if no good file was found), and the bad files met on the way."""

    views: Views
    label: int
    path: str
    bad: tuple[BadFile, ...]


class ClipCutter:
    """Reads, cuts and augments; a clip is a function of (file, seed) alone."""

    def __init__(self, sampling: ClipSampling, transform: Transform, video: Reader):
        self._sampling, self._transform = sampling, transform
        self._video = video
        self._image: Reader = open_reader("image")

    def cut(self, path: str, seed: int | None, position: float = CENTRE) -> UInt8[Tensor, "f c y x"]:
        """Return one clip of ``path``, placed and augmented by ``seed`` (None: at ``position``, as it is)."""
        reader = self._image if path.lower().endswith(IMAGE_EXTENSIONS) else self._video
        generator = torch.Generator().manual_seed(seed or 0)
        info = reader.probe(path)
        if seed is not None:
            position = torch.rand((), generator=generator, dtype=torch.float64).item()
        indices = self._sampling.indices(info.timestamps, position)
        frames = reader.read(path, indices, self._transform.decode_size(info.height, info.width))
        return self._transform(frames, generator)


class WatchedClips(Dataset[Sample]):
    """Samples whose clips may take a while and no longer; a file that took longer is bad from then on.

    From then on means from that sample's number on: earlier ones were drawn while the file seemed sound, and
    a run that is continued has to draw them again. ``timed_out``: files found so before.
    """

    def __init__(self, deadline: Deadline = UNLIMITED, timed_out: Iterable[BadFile] = ()):
        self.deadline = deadline
        self._timed_out: dict[str, BadFile] = {}
        self.learn(timed_out)

    def learn(self, found: Iterable[BadFile]) -> bool:
        """Take note of files that took too long; tell whether that is news."""
        news = [file for file in found if file.sample is not None and file.path not in self._timed_out]
        self._timed_out |= {file.path: file for file in news}
        return bool(news)

    def give_up(self, attempt: Attempt) -> BadFile:
        """Take note that what was tried for a sample took too long; return the file."""
        file = BadFile(self.path_at(attempt), self.deadline.reason(), attempt.sample)
        self.learn([file])
        return file

    def path_at(self, attempt: Attempt) -> str:
        """Return the file that is tried for a sample."""
        raise NotImplementedError

    def _clips(self, path: str, attempt: Attempt, cuts: Iterable[Callable[[str], Clip]]) -> Views | BadFile:
        """Return each of the ``cuts`` of ``path``, or why there are none."""
        known = self._timed_out.get(path)
        if known is not None and known.sample is not None and known.sample <= attempt.sample:
            return known
        views: Views = ()
        try:
            for cut in cuts:
                with self.deadline.attempt(attempt):
                    views += (cut(path),)
        except OutOfTimeError:
            return self.give_up(attempt)
        except (BadVideoError, UnsupportedVideoError) as error:
            return BadFile(path, _without_path(str(error), path))
        return views


class TrainingClips(WatchedClips):
    """The samples of a run by their global number. ``cutters``: one for each source."""

    def __init__(
        self,
        sources: Sequence[FileList],
        order: SampleOrder,
        cutters: Sequence[ClipCutter],
        views: int,
        seed: int,
        deadline: Deadline = UNLIMITED,
        timed_out: Iterable[BadFile] = (),
    ):
        super().__init__(deadline, timed_out)
        self._sources, self._order, self._cutters = list(sources), order, list(cutters)
        self._views, self._seed = views, seed

    def __getitem__(self, number: int) -> Sample:
        draw = self._order.draw(number)
        files, cutter = self._sources[draw.source], self._cutters[draw.source]
        bad: list[BadFile] = []
        for retry, index in enumerate(self._candidates(draw)):
            path = files.paths[index]
            seeds = [self._clip_seed(draw, retry, view) for view in range(self._views)]
            cuts = [partial(cutter.cut, seed=seed) for seed in seeds]
            views = self._clips(path, Attempt(number, retry), cuts)
            if not isinstance(views, BadFile):
                return Sample(views, files.labels[index], path, tuple(bad))
            bad.append(views)
        return Sample((), -1, "", tuple(bad))

    def path_at(self, attempt: Attempt) -> str:
        """Return the file that is tried for a sample: the one drawn, or a replacement."""
        draw = self._order.draw(attempt.sample)
        return self._sources[draw.source].paths[next(islice(self._candidates(draw), attempt.retry, None))]

    def _candidates(self, draw: Draw) -> Iterator[int]:
        """Yield the drawn file and then its replacements, of the same source and all different."""
        count = len(self._sources[draw.source].paths)
        yield draw.file
        rng = np.random.default_rng(derive_seed(self._seed, REPLACEMENT, *draw))
        others = rng.choice(count, size=min(count, MAX_REPLACEMENTS), replace=False)
        yield from (int(i) for i in others if i != draw.file)

    def _clip_seed(self, draw: Draw, retry: int, view: int) -> int:
        return derive_seed(self._seed, CLIP, *draw, retry, view)


class EvaluationClips(WatchedClips):
    """The files of a list, in order, not augmented; a bad file gives no view and is not replaced.

    The views of a file are ``segments`` clips spread over the video, each cropped at ``crops`` places along
    its long side; one of each is the centre.
    """

    def __init__(
        self,
        files: FileList,
        sampling: ClipSampling,
        size: int,
        video: Reader,
        segments: int = 1,
        crops: int = 1,
        deadline: Deadline = UNLIMITED,
    ):
        super().__init__(deadline)
        self._files = files
        places = [CENTRE] if crops == 1 else [crop / (crops - 1) for crop in range(crops)]
        cutters = [ClipCutter(sampling, EvalTransform(size, place), video) for place in places]
        positions = [(segment + 0.5) / segments for segment in range(segments)]
        self._cuts = [
            partial(cutter.cut, seed=None, position=position) for position in positions for cutter in cutters
        ]

    def __len__(self) -> int:
        return len(self._files.paths)

    def __getitem__(self, index: int) -> Sample:
        path, label = self._files.paths[index], self._files.labels[index]
        views = self._clips(path, Attempt(index, 0), self._cuts)
        if isinstance(views, BadFile):
            return Sample((), label, path, (views,))
        return Sample(views, label, path, ())

    def path_at(self, attempt: Attempt) -> str:
        """Return the file of that number."""
        return self._files.paths[attempt.sample]


def _without_path(message: str, path: str) -> str:
    return message.removeprefix(f"{path}: ")
