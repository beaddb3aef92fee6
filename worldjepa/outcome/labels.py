"""What came out of a finished run: how well its latents tell the labels apart, and where it is."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from worldjepa.artifact import latest_checkpoint, write_file
from worldjepa.build import build_model
from worldjepa.config import TrainConfig
from worldjepa.data.clips.badfiles import NoGoodFileError
from worldjepa.data.clips.listing import FileList
from worldjepa.data.clips.loader import default_num_workers
from worldjepa.evaluation.labels import LabelReport, report_labels
from worldjepa.evaluation.probes import NoProbeError
from worldjepa.loading import load
from worldjepa.run_data import Data, centre_clips
from worldjepa.seeding import derive_seed

PROBED_CLIPS = 4000  # at most, of the training files and again of the held-out ones


def evaluate(config: TrainConfig, data: Data, run_dir: Path, device: torch.device) -> None:
    """Say what the run learnt of the labels, where there are any, and where it is."""
    console = Console(highlight=False)
    try:
        report = probe_labels(config, data, run_dir, device)
    except (NoProbeError, NoGoodFileError) as error:
        console.print(f"no probe of the labels: {error}", markup=False, soft_wrap=True)
    else:
        write_file(run_dir / "labels.json", json.dumps(report.to_dict(), indent=2) + "\n")
        console.print(label_table(report))
    say_end(console, run_dir, width=config.model.encoder.dim)


def probe_labels(config: TrainConfig, data: Data, run_dir: Path, device: torch.device) -> LabelReport:
    """Probe the model of the last checkpoint with the first source's files and those held out of it.

    Raises:
        NoProbeError: there are not two classes among the files of each part.
        NoGoodFileError: none of the files of a part can be read.
    """
    train, held_out = labelled(data.sources[0].files, data.held_out)
    train, held_out = _some(train, config.seed), _some(held_out, config.seed)
    checkpoint = latest_checkpoint(run_dir)
    assert checkpoint is not None
    model = load(checkpoint, device=device.type)
    untrained = build_model(config).to(device).eval()
    workers = default_num_workers() if config.data.num_workers is None else config.data.num_workers
    with centre_clips(config, train, workers) as fit, centre_clips(config, held_out, workers) as test:
        return report_labels(model, untrained, lambda: fit, lambda: test)


def labelled(train: FileList, held_out: FileList) -> tuple[FileList, FileList]:
    """Keep the files whose label is known, and of those held out the ones of classes to train on.

    Raises:
        NoProbeError: fewer than two classes remain in either part.
    """
    train = train.take(i for i, label in enumerate(train.labels) if label >= 0)
    if not len(train):
        raise NoProbeError(
            "no training file has a label; labels are the names of two class folders or more, or stand in a "
            "CSV of 'path label'"
        )
    classes = set(train.labels)
    held_out = held_out.take(i for i, label in enumerate(held_out.labels) if label in classes)
    if len(classes) < 2 or len(set(held_out.labels)) < 2:
        raise NoProbeError(
            f"it takes two classes or more; {len(train)} labelled training files have {len(classes)}, and "
            f"{len(held_out)} files held out of these classes have {len(set(held_out.labels))}; "
            "data.val_root names others to hold out"
        )
    return train, held_out


def label_table(report: LabelReport) -> Table:
    """Lay out the accuracies as a table for the terminal."""
    table = Table(
        title=f"Labels read from frozen latents: {report.classes} classes, {report.train_clips} clips to "
        f"fit on, {report.held_out_clips} held out",
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


def say_end(console: Console, run_dir: Path, *, width: int | None = None) -> None:
    """Print what a run logged last (loss; effective rank, of ``width`` if that is given) and where it is."""
    metrics = run_dir / "metrics.jsonl"
    lines = metrics.read_text(encoding="utf-8").splitlines() if metrics.exists() else []
    last: dict[str, float] = {}
    for record in map(json.loads, lines):  # each metric has intervals of its own; null is what was not finite
        last |= {name: value for name, value in record.items() if value is not None}
    said = f"loss {last['loss']:.4f}" if "loss" in last else "no loss was logged"
    if "effective_rank" in last:
        said += f"   effective rank {last['effective_rank']:.1f}" + (f" of {width}" if width else "")
    console.print(said)
    console.print(f"run folder: {run_dir}", markup=False, soft_wrap=True)


def _some(files: FileList, seed: int) -> FileList:
    """Return at most ``PROBED_CLIPS`` files, drawn at random but always the same."""
    if len(files) <= PROBED_CLIPS:
        return files
    order = torch.randperm(len(files), generator=torch.Generator().manual_seed(derive_seed(seed, 0, 3)))
    return files.take(sorted(order[:PROBED_CLIPS].tolist()))
