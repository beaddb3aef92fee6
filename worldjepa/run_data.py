"""The files and the clips of a run: what the settings name, listed; batches to train on and to look at."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from worldjepa.config import TrainConfig
from worldjepa.data.clips.corpus import ensure_corpus
from worldjepa.data.clips.listing import FileList, training_and_held_out
from worldjepa.data.clips.loader import (
    ClipLoader,
    Source,
    clip_loader,
    default_num_workers,
    evaluation_loader,
)
from worldjepa.data.clips.sampling import ClipSampling
from worldjepa.data.clips.transforms import TrainTransform
from worldjepa.hardware import divide_cores
from worldjepa.training import distributed
from worldjepa.types import BadFile

ROOT_VARIABLES = ("KINETICS_ROOT", "SSV2_ROOT", "IMAGEFOLDER_ROOT")  # read by the files of conf/experiment


@dataclass(frozen=True)
class Data:
    """The files of a run: the sources it trains on, and what is held out of the first of them."""

    sources: tuple[Source, ...]
    held_out: FileList

    def lines(self) -> list[str]:
        """Return one line of text a training file, for the list that a run is frozen to."""
        return [line for source in self.sources for line in source.files.lines()]


def find_data(config: TrainConfig) -> Data:
    """List the files that the settings name; without any, render the built-in corpus and list that.

    Raises:
        ValueError: a folder or list that holds no videos or cannot be read.
        FileNotFoundError: one that is missing.
    """
    data = config.data
    if not data.sources:
        root = data.root or ensure_corpus()
        variable = next((name for name in ROOT_VARIABLES if os.environ.get(name) == root), None)
        name = f"data.root (from the environment's {variable})" if variable else "data.root"
        files, held_out = training_and_held_out(root, data.layout, data.val_root, name)
        return Data((Source(files),), held_out)
    pairs = [
        training_and_held_out(source.root, source.layout, data.val_root, f"data.sources[{index}].root")
        for index, source in enumerate(data.sources)
    ]
    weights = [source.weight for source in data.sources]
    sources = tuple(Source(files, weight) for (files, _), weight in zip(pairs, weights, strict=True))
    return Data(sources, held_out=pairs[0][1])


def training_batches(
    config: TrainConfig, data: Data, device: torch.device, first_step: int, timed_out: Sequence[BadFile] = ()
) -> ClipLoader:
    """Return this rank's batches from ``first_step`` on; ``timed_out``: files found to take too long."""
    settings, loop = config.data, config.train
    assert settings.size is not None and settings.crop_scale is not None
    assert loop.batch_size is not None and loop.steps is not None
    world = distributed.world_size()
    workers = settings.num_workers
    if workers is None:
        workers = divide_cores(world)[0] if device.type == "cpu" else default_num_workers(world)
    return clip_loader(
        data.sources,
        sampling=clip_sampling(config),
        transform=TrainTransform(settings.size, settings.crop_scale, settings.crop_aspect, settings.flip),
        batch_size=loop.batch_size,
        seed=config.seed,
        first_step=first_step,
        last_step=loop.steps,
        rank=distributed.rank(),
        world_size=world,
        views=2 if config.objective.kind == "byol" or "consistency" in config.objective.weights else 1,
        reader=settings.reader,
        index=settings.index,
        timeout_s=settings.timeout_s,
        timed_out=timed_out,
        num_workers=workers,
        pin_memory=device.type == "cuda",
    )


def centre_clips(config: TrainConfig, files: FileList, num_workers: int) -> ClipLoader:
    """Return the centre clip of each file, cut as in training but not augmented."""
    data = config.data
    assert data.size is not None
    return evaluation_loader(
        files,
        sampling=clip_sampling(config),
        size=data.size,
        batch_size=64,
        reader=data.reader,
        index=data.index,
        timeout_s=data.timeout_s,
        num_workers=num_workers,
    )


def clip_sampling(config: TrainConfig) -> ClipSampling:
    """Return how clips are cut out of videos."""
    data = config.data
    assert data.num_frames is not None
    return ClipSampling(data.num_frames, data.fps, data.frame_skip, data.short_clips)
