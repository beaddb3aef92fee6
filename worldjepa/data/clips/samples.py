"""One sample: choose the file, cut the clip, augment it; a bad file is replaced by a seeded other one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor
from torch.utils.data import Dataset

from worldjepa.data.clips.listing import IMAGE_EXTENSIONS, FileList
from worldjepa.data.clips.order import CLIP, REPLACEMENT, Draw, SampleOrder
from worldjepa.data.clips.sampling import CENTRE, ClipSampling
from worldjepa.data.clips.transforms import EvalTransform, Transform
from worldjepa.data.video.reader import BadVideoError, Reader, UnsupportedVideoError, open_reader
from worldjepa.seeding import derive_seed
from worldjepa.types import BadFile

MAX_REPLACEMENTS = 100


@dataclass(frozen=True)
class Sample:
    """The views of one video (none if no good file was found), and the bad files met on the way."""

    views: tuple[UInt8[Tensor, "f c y x"], ...]
    label: int
    path: str
    bad: tuple[BadFile, ...]


class ClipCutter:
    """Reads, cuts and augments; a clip is a function of (file, seed) alone."""

    def __init__(self, sampling: ClipSampling, transform: Transform, reader: str):
        self._sampling, self._transform = sampling, transform
        self._video: Reader = open_reader(reader)
        self._image: Reader = open_reader("image")

    def cut(self, path: str, seed: int | None) -> UInt8[Tensor, "f c y x"]:
        """Return one clip of ``path``, placed and augmented by ``seed`` (None: the centre of the video)."""
        reader = self._image if path.lower().endswith(IMAGE_EXTENSIONS) else self._video
        generator = torch.Generator().manual_seed(seed or 0)
        info = reader.probe(path)
        position = CENTRE if seed is None else torch.rand((), generator=generator, dtype=torch.float64).item()
        indices = self._sampling.indices(info.timestamps, position)
        frames = reader.read(path, indices, self._transform.decode_size(info.height, info.width))
        return self._transform(frames, generator)


class TrainingClips(Dataset[Sample]):
    """The samples of a run by their global number."""

    def __init__(
        self, sources: Sequence[FileList], order: SampleOrder, cutter: ClipCutter, views: int, seed: int
    ):
        self._sources, self._order, self._cutter = list(sources), order, cutter
        self._views, self._seed = views, seed

    def __getitem__(self, number: int) -> Sample:
        draw = self._order.draw(number)
        files = self._sources[draw.source]
        bad: list[BadFile] = []
        for retry, index in enumerate(self._candidates(draw, len(files.paths))):
            path = files.paths[index]
            try:
                views = tuple(
                    self._cutter.cut(path, self._clip_seed(draw, retry, v)) for v in range(self._views)
                )
            except (BadVideoError, UnsupportedVideoError) as error:
                bad.append(BadFile(path, _without_path(str(error), path)))
                continue
            return Sample(views, files.labels[index], path, tuple(bad))
        return Sample((), -1, "", tuple(bad))

    def _candidates(self, draw: Draw, count: int):
        """Yield the drawn file and then its replacements, of the same source and all different."""
        yield draw.file
        rng = np.random.default_rng(derive_seed(self._seed, REPLACEMENT, *draw))
        others = rng.choice(count, size=min(count, MAX_REPLACEMENTS), replace=False)
        yield from (int(i) for i in others if i != draw.file)

    def _clip_seed(self, draw: Draw, retry: int, view: int) -> int:
        return derive_seed(self._seed, CLIP, *draw, retry, view)


class EvaluationClips(Dataset[Sample]):
    """The centre clip of each file of a list, in order; a bad file gives no view and is not replaced."""

    def __init__(self, files: FileList, sampling: ClipSampling, size: int, reader: str):
        self._files = files
        self._cutter = ClipCutter(sampling, EvalTransform(size), reader)

    def __len__(self) -> int:
        return len(self._files.paths)

    def __getitem__(self, index: int) -> Sample:
        path, label = self._files.paths[index], self._files.labels[index]
        try:
            return Sample((self._cutter.cut(path, None),), label, path, ())
        except (BadVideoError, UnsupportedVideoError) as error:
            return Sample((), label, path, (BadFile(path, _without_path(str(error), path)),))


def _without_path(message: str, path: str) -> str:
    return message.removeprefix(f"{path}: ")
