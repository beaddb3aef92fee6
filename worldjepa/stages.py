"""The stages of a training run: find the data, restore, train, evaluate, say what came out."""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml

from worldjepa.artifact import clean_leftovers, latest_checkpoint, write_file
from worldjepa.build import build_model, device_kind, pick_device
from worldjepa.build_objective import build_objective, build_strategies
from worldjepa.config import WORLD_KINDS, TrainConfig
from worldjepa.data.clips.badfiles import BadFileLog
from worldjepa.data.clips.listing import difference
from worldjepa.hardware import divide_cores
from worldjepa.memory import keep_freed_memory
from worldjepa.report.page import write_report
from worldjepa.run_episodes import ensure_episodes
from worldjepa.runlock import RunLock
from worldjepa.settings.compose import fill
from worldjepa.settings.schema import ConfigError, changed_settings, from_dict, to_dict
from worldjepa.training import distributed
from worldjepa.training.checkpoint import Checkpoint, load_checkpoint, package_versions
from worldjepa.training.loop import Trainer
from worldjepa.training.pretrained import adopt_frozen
from worldjepa.uses import KINDS, Use

logger = logging.getLogger(__name__)


def run_training(config: TrainConfig, argv: list[str]) -> int:
    """Train as ``config`` says, from the start or from where the run folder stands; return the exit code.

    Raises:
        ValueError: one of the named errors of the rooms below; its text is for the user.
    """
    with opened_run(config, argv) as (config, run_dir, device):
        config = adopt_frozen(config)
        main = distributed.is_main()
        with distributed.main_first():
            whole = not main or ensure_episodes(config, run_dir)
        if not distributed.all_true(whole):
            return 0  # a signal came while episodes were collected; the same command goes on
        with distributed.main_first():
            use = KINDS[config.objective.kind](config, run_dir)
        finished = _train(use, run_dir, device)
        if main and finished:
            use.evaluate(run_dir, device)
            write_report(run_dir, device=device.type)
    return 0


@contextlib.contextmanager
def opened_run(config: TrainConfig, argv: list[str]) -> Iterator[tuple[TrainConfig, Path, torch.device]]:
    """Fill what is unset, join the ranks, hold the run folder's lock; yield settings, folder, device."""
    device_name = pick_device(config.device)
    config, chosen = fill(config, argv, device_kind(device_name))
    run_dir = Path(config.run.dir or f"runs/{config.experiment}")
    with distributed.process_group(device_name) as device:
        if device.type == "cpu":
            keep_freed_memory()
            if "OMP_NUM_THREADS" not in os.environ:
                torch.set_num_threads(divide_cores(distributed.world_size())[1])
        main = distributed.is_main()
        with RunLock(run_dir) if main else contextlib.nullcontext():
            if main:
                if chosen:
                    logger.info(chosen)
                clean_leftovers(run_dir)
            yield config, run_dir, device


def _train(use: Use, run_dir: Path, device: torch.device) -> bool:
    """Train to the last step, from the latest checkpoint if there is one; return whether it was reached."""
    config = use.config
    found = latest_checkpoint(run_dir)
    checkpoint = None if found is None else load_checkpoint(found)
    if checkpoint is not None:
        _check_same_run(checkpoint, use, run_dir)
        if checkpoint.step == config.train.steps:
            anew = "nothing to do (another run.dir= starts anew)"
            logger.info("%s is finished: %d steps; %s", run_dir, checkpoint.step, anew)
            return not use.evaluated(run_dir)
    elif distributed.is_main():
        _begin(use, run_dir)
    trainer = build_trainer(use, run_dir, device, fresh=checkpoint is None)
    if checkpoint is not None:
        logger.info("continuing %s from step %d", run_dir, checkpoint.step)
        trainer.restore(checkpoint)
    return trainer.run()


def build_trainer(
    use: Use, run_dir: Path, device: torch.device, *, fresh: bool = True, kind: type[Trainer] = Trainer
) -> Trainer:
    """Build everything that a run consists of; if not ``fresh``, weights are to come from a checkpoint."""
    config = use.config
    model = build_model(config, pretrained=fresh).to(device)
    if fresh:
        use.prepare(model)
    return kind(
        config=config,
        run_dir=run_dir,
        model=model,
        objective=build_objective(config, model),
        strategies=build_strategies(config),
        batches=partial(use.batches, device),
        device=device,
        bad_files=BadFileLog(run_dir / "bad_files.jsonl", config.data.max_bad_share),
        draw_pictures=use.pictures(run_dir),
    )


def _begin(use: Use, run_dir: Path) -> None:
    """Write down what a new run is made of, and freeze its file list."""
    write_file(run_dir / "config.yaml", yaml.safe_dump(to_dict(use.config), sort_keys=False))
    write_file(run_dir / "environment.json", json.dumps(package_versions(), indent=2) + "\n")
    write_file(run_dir / "files.jsonl", "".join(line + "\n" for line in use.lines()))


def _check_same_run(checkpoint: Checkpoint, use: Use, run_dir: Path) -> None:
    """Refuse to go on with other settings or other files than the run began with.

    Raises:
        ConfigError: names the settings, or the files, that differ.
    """
    check_same_settings(checkpoint.config, use.config, run_dir)
    frozen = run_dir / "files.jsonl"
    lines = frozen.read_text(encoding="utf-8").splitlines() if frozen.exists() else []
    if lines != use.lines():
        raise ConfigError(
            f"the files of {use.root} are not those that {run_dir} began with: "
            f"{difference(lines, use.lines())}. Put them back to continue, or choose another run.dir="
        )


def check_same_settings(stored: dict[str, Any], config: TrainConfig, run_dir: Path) -> None:
    """Raise ``ConfigError``, which names the settings, if a run began with others than ``config``."""
    changed = changed_settings(from_dict(stored), config)
    if config.objective.kind not in WORLD_KINDS:  # videos may be moved: files.jsonl says which they are
        changed = [name for name in changed if name not in ("data.root", "data.val_root")]
    if changed:
        raise ConfigError(
            f"{run_dir} holds a run with other settings: {', '.join(changed)}. Give it the same settings "
            f"({run_dir / 'config.yaml'}) to continue it, or another run.dir= for a new run"
        )
