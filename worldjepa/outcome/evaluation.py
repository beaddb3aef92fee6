"""An evaluation: every probe asked for, printed, and stored in the run folder."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from worldjepa.artifact import checkpoint_step, write_file
from worldjepa.config import TrainConfig
from worldjepa.data.clips.badfiles import NoGoodFileError
from worldjepa.evaluation.findings import Finding
from worldjepa.evaluation.foresight import NoForesightError
from worldjepa.evaluation.probes import NoProbeError
from worldjepa.outcome.evaluated import Subject
from worldjepa.outcome.gauge_judge import judge_gauges, judge_surprise
from worldjepa.outcome.probe_judge import (
    judge_anticipation,
    judge_attentive,
    judge_detection,
    judge_knn,
    judge_linear,
    judge_segmentation,
    judge_states,
)
from worldjepa.outcome.world_judge import judge_world_gauges, judge_world_states
from worldjepa.plain_data import PlainDataError, read_json
from worldjepa.settings.evaluation import EvaluateConfig
from worldjepa.settings.schema import ConfigError, to_dict

logger = logging.getLogger(__name__)
RESULT = "evaluation.json"
WIDE = 160  # characters of a line in a file

Judge = Callable[[Subject], Finding]
OF_VIDEO: dict[str, Judge] = {
    "linear": judge_linear,
    "knn": judge_knn,
    "regression": judge_states,
    "segmentation": judge_segmentation,
    "gauges": judge_gauges,
    "surprise": judge_surprise,
    "attentive": judge_attentive,
    "detection": judge_detection,
    "anticipation": judge_anticipation,
}
OF_WORLDS: dict[str, Judge] = {"regression": judge_world_states, "gauges": judge_world_gauges}


def evaluate_run(config: EvaluateConfig, run: TrainConfig) -> dict[str, Any]:
    """Probe the run in ``config.run.dir``, print what came out, and store it there; return it.

    Of probes that were not asked for by name, those that the run or its data do not allow are left out, and
    said so. What an earlier evaluation of the same checkpoint found by other probes stays in the file.

    Raises:
        ConfigError: a probe asked for by name that makes no sense for this run.
        ValueError: a run or data that cannot be used, or without labels to probe.
    """
    subject = Subject(config, run)
    judges = OF_WORLDS if subject.is_world else OF_VIDEO
    by_name = config.probe not in ("quick", "all")
    console = _console()
    done, total = checkpoint_step(subject.checkpoint), run.train.steps
    if done is not None and total is not None and done < total:
        console.print(f"training is unfinished: {done:,} of {total:,} steps")
    result = _earlier(subject)
    names = [name for name in config.probes if by_name or name in judges]
    if len(names) < len(config.probes):
        console.print(
            f"a world model from episodes: of {config.probe} probes {', '.join(names)}", markup=False
        )
    for name in names:
        began = time.perf_counter()
        try:
            finding = _judge(name, judges, subject)
        except (ConfigError, NoProbeError, NoForesightError, NoGoodFileError) as error:
            if by_name:
                raise
            console.print(f"no {name}: {error}", markup=False, soft_wrap=True)
            continue
        seconds = round(time.perf_counter() - began, 1)
        if config.data.root is not None:
            finding = replace(finding, note=f"{finding.note}; data.root={config.data.root}")
        result["probes"][name] = {**finding.to_dict(), "seconds": seconds, "settings asked": to_dict(config)}
        console.print(f"\n{finding.title}", markup=False, soft_wrap=True)
        console.print(finding.table())
        console.print(f"  ({finding.note})", markup=False, soft_wrap=True)
        write_file(subject.run_dir / RESULT, json.dumps(result, indent=2) + "\n")
    console.print(f"result: {subject.run_dir / RESULT}", markup=False, soft_wrap=True)
    return result


def _judge(name: str, judges: dict[str, Judge], subject: Subject) -> Finding:
    if name not in judges:
        raise ConfigError(
            f"probe={name}: makes no sense for a world model from episodes; there are {', '.join(judges)}, "
            "and python -m worldjepa.plan"
        )
    logger.info("probe: %s", name)
    return judges[name](subject)


def _earlier(subject: Subject) -> dict[str, Any]:
    """Return what is known of the checkpoint already, or the beginnings of it."""
    path = Path(subject.run_dir / RESULT)
    fresh = {"run": str(subject.run_dir), "checkpoint": subject.checkpoint.name, "probes": {}}
    if not path.exists():
        return fresh
    try:
        known = read_json(path)
    except PlainDataError as error:
        logger.warning("an earlier evaluation is damaged and written anew: %s", error)
        return fresh
    whole = isinstance(known, dict) and isinstance(known.get("probes"), dict)
    return known if whole and known.get("checkpoint") == subject.checkpoint.name else fresh


def _console() -> Console:
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = WIDE
    return console
