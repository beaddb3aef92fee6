"""What an evaluation looks at: a run's model beside the untrained one, and clips to probe both with.

Clips of the labelled data and of the built-in corpus are read once, whatever number of probes look at them.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from worldjepa.build import build_model, pick_device
from worldjepa.config import WORLD_KINDS, TrainConfig
from worldjepa.data.clips.cifar import FOLDER, cifar_clips, is_cifar
from worldjepa.data.clips.corpus import ensure_corpus
from worldjepa.data.clips.listing import FileList, training_and_held_out
from worldjepa.data.clips.loader import ClipLoader, default_num_workers, evaluation_loader
from worldjepa.data.clips.scenes import CorpusSettings
from worldjepa.data.clips.truth import clip_truth
from worldjepa.evaluation.detection import Boxes
from worldjepa.evaluation.latents import Latents, Way, read_latents, token_grid, ways_of
from worldjepa.evaluation.probes import NoProbeError
from worldjepa.evaluation.segmentation import cell_masks
from worldjepa.loading import find_checkpoint, load
from worldjepa.model.world_model import WorldModel
from worldjepa.outcome.labels import labelled
from worldjepa.run_data import clip_sampling, find_data
from worldjepa.seeding import derive_seed
from worldjepa.settings.evaluation import EvaluateConfig
from worldjepa.types import Batch, Grid

logger = logging.getLogger(__name__)
BATCH = 64
ABOUT = "corpus.json"  # beside the videos of a built-in corpus


@dataclass(frozen=True)
class Truths:
    """What is really in clips of the built-in corpus, at the last frame of each latent step."""

    cells: Bool[Tensor, "n t p c"]
    boxes: Boxes
    state: Float[Tensor, "n t z"]


@dataclass(frozen=True)
class Part:
    """Files to fit to or to judge by (None: CIFAR-10's), and the views of each."""

    files: FileList | None
    train: bool
    segments: int = 1
    crops: int = 1

    @property
    def views(self) -> int:
        """Views of a clip."""
        return self.segments * self.crops


class Subject:
    """A run under evaluation. Everything is made when it is first asked for."""

    def __init__(self, asked: EvaluateConfig, run: TrainConfig):
        assert asked.run.dir is not None
        self.asked, self.run, self.run_dir = asked, run, Path(asked.run.dir)
        self.device = torch.device(pick_device(asked.device))
        self.checkpoint = find_checkpoint(self.run_dir)
        self.model: WorldModel = load(self.checkpoint, device=self.device.type)

    @property
    def is_world(self) -> bool:
        """Whether it was trained on episodes with actions."""
        return self.run.objective.kind in WORLD_KINDS

    @cached_property
    def untrained(self) -> WorldModel:
        """The model before training."""
        return build_model(self.run, pretrained=False).to(self.device).eval()

    @cached_property
    def grid(self) -> Grid:
        """The grid of patch tokens of a clip."""
        data = self.run.data
        assert data.num_frames is not None and data.size is not None
        return token_grid(self.model, torch.zeros(1, data.num_frames, 3, data.size, data.size))

    @cached_property
    def ways(self) -> dict[str, Way]:
        """The encoders side by side."""
        return ways_of(self.model, self.untrained, self.asked.eval.beside)

    # --- labelled clips ---------------------------------------------------------------------------

    @cached_property
    def files(self) -> tuple[FileList, FileList] | None:
        """The files to fit to and to judge by; None for CIFAR-10."""
        data = self.asked.data
        if data.root is not None:
            if is_cifar(data.root):
                return None
            if Path(data.root).name == FOLDER and is_cifar(Path(data.root).parent):
                raise ValueError(f"data.root={data.root}: name the folder that holds {FOLDER}")
            return training_and_held_out(data.root, data.layout, data.val_root)
        found = find_data(self.run)
        return found.sources[0].files, found.held_out

    @cached_property
    def parts(self) -> tuple[Part, Part]:
        """The labelled clips to fit to and to judge by.

        Raises:
            NoProbeError: fewer than two classes.
        """
        if self.files is None:
            return Part(None, True), Part(None, False)
        fit, judge = labelled(*self.files)
        views = (self.asked.eval.segments, self.asked.eval.crops)
        return Part(self._some(fit), True), Part(self._some(judge), False, *views)

    def frames(self, most: int) -> UInt8[Tensor, "n f c y x"]:
        """Return some held-out centre clips, labelled or not; of less than two, some of those to train on."""
        if self.files is None:
            return torch.cat([batch.frames for batch in self._cifar(False, most)])
        fit, judge = self.files
        with self.open(Part(self._some(judge if len(judge) > 1 else fit, most), False)) as clips:
            return torch.cat([batch.frames for batch in clips])

    @cached_property
    def clips(self) -> tuple[Latents, Latents]:
        """Latents of the labelled clips to fit to and to judge by."""
        fit, judge = (self.read(part, self.ways) for part in self.parts)
        return fit, judge

    def read(self, part: Part, ways: dict[str, Way]) -> Latents:
        """Read the clips of a part in several ways."""
        if part.files is None:
            assert self.asked.data.root is not None
            most = self.asked.eval.clips
            return self._latents(self._cifar(part.train, most), ways, most, 1)
        with self.open(part) as clips:
            return self._latents(clips, ways, len(part.files) * part.views, part.views)

    def open(self, part: Part) -> ClipLoader:
        """Return the clips of a part, in order."""
        assert part.files is not None and self.run.data.size is not None
        workers = self.run.data.num_workers
        return evaluation_loader(
            part.files,
            sampling=clip_sampling(self.run),
            size=self.run.data.size,
            batch_size=max(1, BATCH // part.views),
            segments=part.segments,
            crops=part.crops,
            reader=self.run.data.reader,
            index=self.run.data.index,
            timeout_s=self.run.data.timeout_s,
            num_workers=default_num_workers() if workers is None else workers,
        )

    def _cifar(self, train: bool, most: int) -> Iterable[Batch]:
        assert self.asked.data.root is not None and self.run.data.num_frames is not None
        return cifar_clips(
            self.asked.data.root,
            train=train,
            num_frames=self.run.data.num_frames,
            most=most,
            batch_size=BATCH,
        )

    def _latents(self, clips: Iterable[Batch], ways: dict[str, Way], rows: int, views: int) -> Latents:
        logger.info("reading up to %d clips with %s", rows, ", ".join(ways))
        return read_latents(_told(clips), ways, self.grid, rows=rows, views=views, folder=self.run_dir)

    def _some(self, files: FileList, most: int | None = None) -> FileList:
        """Return at most as many files (left out: as asked for), drawn at random but always the same."""
        most = self.asked.eval.clips if most is None else most
        if len(files) <= most:
            return files
        generator = torch.Generator().manual_seed(derive_seed(self.asked.seed, 0))
        return files.take(sorted(torch.randperm(len(files), generator=generator)[:most].tolist()))

    # --- the built-in corpus ----------------------------------------------------------------------

    @cached_property
    def corpus(self) -> Path:
        """The built-in corpus: the variant that ``data.root`` or the run was trained on, or the usual one.

        Raises:
            NoProbeError: ``data.root`` is something else, of which no truth is known.
        """
        asked = self.asked.data.root
        root = self.run.data.root if asked is None else asked
        if root is not None and (Path(root) / ABOUT).is_file():
            return Path(root)
        if asked is not None:
            raise NoProbeError(
                "true masks, boxes and states are known of the built-in corpus and not of data.root="
                f"{asked}; leave data.root out to be measured there"
            )
        return ensure_corpus()

    @cached_property
    def corpus_settings(self) -> CorpusSettings:
        """How it was rendered."""
        about = json.loads((self.corpus / ABOUT).read_text(encoding="utf-8"))
        fields = CorpusSettings.__dataclass_fields__
        return CorpusSettings(**{name: value for name, value in about.items() if name in fields})

    @cached_property
    def scenes(self) -> tuple[Latents, Latents]:
        """Latents of the corpus's clips to fit to and to judge by, one view of each."""
        asked = self.asked.data
        root = self.run.data.root if asked.root is None else asked.root
        mine = root in (None, str(self.corpus)) and asked.val_root is None and not self.run.data.sources
        if mine and self.parts[1].views == 1:
            return self.clips
        files = training_and_held_out(self.corpus)
        parts = (Part(self._some(fit), train) for fit, train in zip(files, (True, False), strict=True))
        fit, judge = (self.read(part, self.ways) for part in parts)
        return fit, judge

    @cached_property
    def truths(self) -> tuple[Truths, Truths]:
        """The truth of the scenes' clips."""
        fit, judge = (self._truths(latents) for latents in self.scenes)
        return fit, judge

    def _truths(self, latents: Latents) -> Truths:
        size, sampling = self.run.data.size, clip_sampling(self.run)
        assert size is not None
        per_step = sampling.num_frames // self.grid.t
        cells, boxes, seen, state = [], [], [], []
        for path in latents.paths:
            truth = clip_truth(Path(path), self.corpus_settings.fps, sampling, size)
            last = slice(per_step - 1, None, per_step)
            cells.append(cell_masks(truth.masks[last].any(dim=1)[None], self.grid)[0])
            boxes.append(truth.boxes[last])
            seen.append(truth.seen[last])
            state.append(truth.state[last])
        found = Boxes(torch.stack(boxes), torch.stack(seen), (size, size))
        return Truths(torch.stack(cells), found, torch.stack(state))


def _told(clips: Iterable[Batch]) -> Iterator[Batch]:
    """Say on the way which files are left out."""
    for batch in clips:
        for file in batch.bad:
            logger.warning("left out: %s: %s", file.path, file.reason)
        yield batch
