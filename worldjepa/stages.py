"""The stages of a training run: find the data, restore, train, evaluate, say what came out."""

from __future__ import annotations

import contextlib
import json
import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
import yaml
from rich.console import Console
from rich.table import Table

from worldjepa.artifact import clean_leftovers, latest_checkpoint, write_file
from worldjepa.build import build_model, build_objective, build_strategies, device_kind, pick_device
from worldjepa.compose import fill
from worldjepa.config import TrainConfig
from worldjepa.data.badfiles import BadFileLog
from worldjepa.data.corpus import ensure_corpus
from worldjepa.data.listing import FileList, difference, training_and_held_out
from worldjepa.data.loader import ClipLoader, Source, clip_loader, default_num_workers, evaluation_loader
from worldjepa.data.sampling import ClipSampling
from worldjepa.data.transforms import TrainTransform
from worldjepa.evaluation.labels import LabelReport, report_labels
from worldjepa.loading import load
from worldjepa.model.world_model import WorldModel
from worldjepa.pictures import latent_picture, mask_picture, save_png
from worldjepa.runlock import RunLock
from worldjepa.schema import ConfigError, changed_settings, from_dict, to_dict
from worldjepa.seeding import derive_seed
from worldjepa.training import distributed
from worldjepa.training.checkpoint import Checkpoint, load_checkpoint, package_versions
from worldjepa.training.logbook import Logbook
from worldjepa.training.loop import Trainer
from worldjepa.types import Masks

logger = logging.getLogger(__name__)
PROBED_CLIPS = 4000  # at most, of the training files and again of the held-out ones
SHOWN_CLIPS = 4


@dataclass(frozen=True)
class Data:
    """The files of a run: the sources it trains on, and what is held out of the first of them."""

    sources: tuple[Source, ...]
    held_out: FileList

    def lines(self) -> list[str]:
        """Return one line of text a training file, for the list that a run is frozen to."""
        return [line for source in self.sources for line in source.files.lines()]


def run_training(config: TrainConfig, argv: list[str]) -> int:
    """Train as ``config`` says, from the start or from where the run folder stands; return the exit code.

    Raises:
        ValueError: one of the named errors of the rooms below; its text is for the user.
    """
    device_name = pick_device(config.device)
    config, chosen = fill(config, argv, device_kind(device_name))
    run_dir = Path(config.run.dir or f"runs/{config.experiment}")
    with distributed.process_group(device_name) as device:
        main = distributed.is_main()
        with RunLock(run_dir) if main else contextlib.nullcontext():
            if main:
                logger.info(chosen)
                clean_leftovers(run_dir)
            with distributed.main_first():
                data = find_data(config)
            finished = _train(config, data, run_dir, device)
            if main and finished:
                evaluate(config, data, run_dir, device)
    return 0


def find_data(config: TrainConfig) -> Data:
    """List the files that the settings name; without any, render the built-in corpus and list that.

    Raises:
        ValueError: a folder or list that is missing, holds no videos or cannot be read.
    """
    data = config.data
    if data.sources:
        pairs = [(training_and_held_out(s.root, s.layout, data.val_root), s.weight) for s in data.sources]
        return Data(tuple(Source(files, weight) for (files, _), weight in pairs), pairs[0][0][1])
    root = data.root or ensure_corpus()
    files, held_out = training_and_held_out(root, data.layout, data.val_root)
    return Data((Source(files),), held_out)


# --- training ------------------------------------------------------------------------------------


def _train(config: TrainConfig, data: Data, run_dir: Path, device: torch.device) -> bool:
    """Train to the last step, from the latest checkpoint if there is one; return whether it was reached."""
    found = latest_checkpoint(run_dir)
    checkpoint = None if found is None else load_checkpoint(found)
    if checkpoint is not None:
        _check_same_run(checkpoint, config, data, run_dir)
        if checkpoint.step == config.train.steps:
            logger.info(
                "%s is finished: %d steps; nothing to do (another run.dir= starts anew)",
                run_dir,
                checkpoint.step,
            )
            return not (run_dir / "labels.json").exists()
    elif distributed.is_main():
        _begin(config, data, run_dir)
    trainer = build_trainer(config, data, run_dir, device)
    if checkpoint is not None:
        logger.info("continuing %s from step %d", run_dir, checkpoint.step)
        trainer.restore(checkpoint)
    return trainer.run()


def build_trainer(config: TrainConfig, data: Data, run_dir: Path, device: torch.device) -> Trainer:
    """Build everything that a run consists of."""
    model = build_model(config).to(device)
    return Trainer(
        config=config,
        run_dir=run_dir,
        model=model,
        objective=build_objective(config, model),
        strategies=build_strategies(config),
        batches=partial(training_batches, config, data, device),
        device=device,
        bad_files=BadFileLog(run_dir / "bad_files.jsonl", config.data.max_bad_share),
        draw_pictures=Pictures(config, data, run_dir).draw,
    )


def training_batches(config: TrainConfig, data: Data, device: torch.device, first_step: int) -> ClipLoader:
    """Return this rank's batches from ``first_step`` on."""
    settings, loop = config.data, config.train
    assert settings.size is not None and loop.batch_size is not None and loop.steps is not None
    world = distributed.world_size()
    workers = default_num_workers(world) if settings.num_workers is None else settings.num_workers
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
        views=2 if "consistency" in config.objective.weights else 1,
        reader=settings.reader,
        num_workers=workers,
        pin_memory=device.type == "cuda",
    )


def clip_sampling(config: TrainConfig) -> ClipSampling:
    """Return how clips are cut out of videos."""
    data = config.data
    assert data.num_frames is not None
    return ClipSampling(data.num_frames, data.fps, data.frame_skip, data.short_clips)


def _begin(config: TrainConfig, data: Data, run_dir: Path) -> None:
    """Write down what a new run is made of, and freeze its file list."""
    write_file(run_dir / "config.yaml", yaml.safe_dump(to_dict(config), sort_keys=False))
    write_file(run_dir / "environment.json", json.dumps(package_versions(), indent=2) + "\n")
    write_file(run_dir / "files.jsonl", "".join(line + "\n" for line in data.lines()))


def _check_same_run(checkpoint: Checkpoint, config: TrainConfig, data: Data, run_dir: Path) -> None:
    """Refuse to go on with other settings or other files than the run began with.

    Raises:
        ConfigError: names the settings, or the files, that differ.
    """
    before = from_dict(checkpoint.config)
    changed = changed_settings(before, config)
    if changed:
        raise ConfigError(
            f"{run_dir} holds a run with other settings: {', '.join(changed)}. Give it the same settings "
            f"({run_dir / 'config.yaml'}) to continue it, or another run.dir= for a new run"
        )
    frozen = run_dir / "files.jsonl"
    lines = frozen.read_text(encoding="utf-8").splitlines() if frozen.exists() else []
    if lines != data.lines():
        raise ConfigError(
            f"the files of {data.sources[0].files.root} are not those that {run_dir} began with: "
            f"{difference(lines, data.lines())}. Put them back to continue, or choose another run.dir="
        )


class Pictures:
    """Draws the masks and the latents of held-out clips, into ``pictures/`` and TensorBoard."""

    def __init__(self, config: TrainConfig, data: Data, run_dir: Path):
        self._config, self._data, self._folder = config, data, run_dir / "pictures"
        self._frames: torch.Tensor | None = None

    def draw(self, model: WorldModel, masks: tuple[Masks, ...], step: int, book: Logbook) -> None:
        """Draw both for one step; latents only where clips are held out."""
        self._folder.mkdir(parents=True, exist_ok=True)
        settings = self._config.data
        frames = self._held_out()
        assert settings.size is not None and settings.num_frames is not None
        if frames is None:
            return
        grid = model.encoder.grid(frames)
        self._keep(
            mask_picture(dict(zip(self._config.masking, masks, strict=True)), grid), "masks", step, book
        )
        model.eval()
        with torch.no_grad():
            latents = model.encode(frames)
        model.train()
        zoom = max(1, 128 // settings.size)
        self._keep(latent_picture(frames, latents.cpu(), grid, zoom), "latents", step, book)

    def _keep(self, picture: torch.Tensor, name: str, step: int, book: Logbook) -> None:
        save_png(picture, str(self._folder / f"{name}_{step:08d}.png"))
        book.picture(step, name, picture)

    def _held_out(self) -> torch.Tensor | None:
        if self._frames is None and len(self._data.held_out):
            some = self._data.held_out.take(range(min(SHOWN_CLIPS, len(self._data.held_out))))
            with _clips(self._config, some, workers=0) as loader:
                first = next(loader, None)
            self._frames = None if first is None else first.frames
        return self._frames


# --- evaluation ----------------------------------------------------------------------------------


def evaluate(config: TrainConfig, data: Data, run_dir: Path, device: torch.device) -> None:
    """Say what the run learnt of the labels, where there are any, and where it is."""
    console = Console(highlight=False)
    checkpoint = latest_checkpoint(run_dir)
    assert checkpoint is not None
    train = _some(data.sources[0].files, config.seed)
    held_out = _some(data.held_out, config.seed)
    if len(set(train.labels) - {-1}) < 2 or not any(label >= 0 for label in held_out.labels):
        console.print(f"run folder: {run_dir} (no labelled held-out files: no probe)", markup=False)
        return
    model = load(checkpoint, device=device.type)
    untrained = build_model(config).to(device).eval()
    report = report_labels(model, untrained, lambda: _clips(config, train), lambda: _clips(config, held_out))
    write_file(run_dir / "labels.json", json.dumps(report.to_dict(), indent=2) + "\n")
    console.print(label_table(report))
    last = json.loads((run_dir / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    rank = last.get("effective_rank")
    console.print(f"loss {last['loss']:.4f}   effective rank {rank:.1f} of {config.model.encoder.dim}")
    console.print(f"run folder: {run_dir}", markup=False)


def label_table(report: LabelReport) -> Table:
    """Lay out the accuracies as a table for the terminal."""
    table = Table(
        title=f"Labels read from frozen latents: {report.classes} classes, {report.train_clips} clips to fit on, "
        f"{report.held_out_clips} held out",
        caption="accuracy and its 95 % Wilson interval; latents of the target encoder, averaged over space",
    )
    for heading in ("features", "linear probe", "k-NN"):
        table.add_column(heading)
    for name, score in (
        ("trained encoder", report.trained),
        ("untrained encoder", report.untrained),
        ("raw pixels", report.pixels),
    ):
        linear = f"{score.linear:.1%} ({score.linear_low:.1%} to {score.linear_high:.1%})"
        knn = f"{score.knn:.1%} ({score.knn_low:.1%} to {score.knn_high:.1%})"
        table.add_row(name, linear, knn)
    table.add_row("chance", f"{report.chance:.1%}", f"{report.chance:.1%}")
    return table


def _some(files: FileList, seed: int) -> FileList:
    """Return at most ``PROBED_CLIPS`` files, drawn at random but always the same."""
    if len(files) <= PROBED_CLIPS:
        return files
    order = torch.randperm(len(files), generator=torch.Generator().manual_seed(derive_seed(seed, 0, 3)))
    return files.take(sorted(order[:PROBED_CLIPS].tolist()))


def _clips(config: TrainConfig, files: FileList, workers: int | None = None) -> ClipLoader:
    data = config.data
    assert data.size is not None
    return evaluation_loader(
        files,
        sampling=clip_sampling(config),
        size=data.size,
        batch_size=64,
        reader=data.reader,
        num_workers=default_num_workers() if workers is None else workers,
    )
