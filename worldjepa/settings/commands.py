"""From the words of a command to its checked settings: every command but training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from worldjepa.config import TrainConfig
from worldjepa.settings.corpus import IndexConfig, PrepareConfig
from worldjepa.settings.env import CollectConfig
from worldjepa.settings.evaluation import EvaluateConfig
from worldjepa.settings.joining import SCHEMAS, home, joined
from worldjepa.settings.overrides import Command, read_flags, read_words
from worldjepa.settings.planning import PlanConfig
from worldjepa.settings.report import ReportConfig
from worldjepa.settings.schema import ConfigError, from_dict, to_dict
from worldjepa.settings.validate_corpus import validate_index, validate_prepare
from worldjepa.settings.validate_env import validate_collection
from worldjepa.settings.validate_evaluation import validate_evaluation, validate_report
from worldjepa.settings.validate_plan import validate_plan


def compose_collection(argv: Sequence[str]) -> CollectConfig:
    """Return what ``python -m worldjepa.collect`` is asked for, such as ``["env.id=CartPole-v1", "seed=1"]``.

    Raises ``ConfigError``, one line that names the setting.
    """
    command = _read(argv, "collect")
    config, _ = joined(command, "collect")
    config.data.root = home(config.data.root)
    validate_collection(config)
    if config.data.root is None:
        name = (config.env.id or "").rpartition(":")[2].replace("/", "-")
        config.data.root = f"runs/episodes/{name}"
    return config


def compose_index(argv: Sequence[str]) -> IndexConfig:
    """Return what ``python -m worldjepa.index`` is asked for, such as ``["data.root=/videos"]``.

    Raises ``ConfigError``, one line that names the setting.
    """
    config = _corpus_settings(argv, "index")
    config.data.index, config.report = home(config.data.index), home(config.report)
    validate_index(config)
    return config


def compose_prepare(argv: Sequence[str]) -> PrepareConfig:
    """Return what ``python -m worldjepa.prepare`` is asked for, such as ``["data.root=/a", "out=/b"]``.

    Raises ``ConfigError``, one line that names the setting.
    """
    config = _corpus_settings(argv, "prepare")
    config.out = home(config.out)
    validate_prepare(config)
    return config


def _corpus_settings(argv: Sequence[str], entry: str) -> Any:
    command = _read(argv, entry)
    config, _ = joined(command, entry)
    config.data.root = home(config.data.root)
    return config


def compose_plan(argv: Sequence[str]) -> tuple[PlanConfig, TrainConfig]:
    """Return what ``python -m worldjepa.plan`` is asked for, such as ``["run.dir=runs/a"]``, and its run.

    Settings of ``plan`` that the words leave out are those that the run was trained with. Raises
    ``ConfigError``, one line that names the setting.
    """
    command = _read(argv, "plan")
    given = dict(command.settings)
    run_dir = home(given.get("run.dir"))
    run = _stored(run_dir)
    kept = {f"plan.{name}": value for name, value in to_dict(run.plan).items()}
    if "plan.planner" in given:
        del kept["plan.planner_settings"]  # another planner's
    command.settings[:0] = [(name, value) for name, value in kept.items() if name not in given]
    config, _ = joined(command, "plan")
    config.run.dir, config.data.root = run_dir, home(config.data.root)
    validate_plan(config)
    return config, run


def compose_evaluation(argv: Sequence[str]) -> tuple[EvaluateConfig, TrainConfig]:
    """Return what ``python -m worldjepa.evaluate`` is asked for, such as ``["run.dir=runs/a"]``, and its run.

    Raises ``ConfigError``, one line that names the setting.
    """
    command = _read(argv, "evaluate")
    config, _ = joined(command, "evaluate")
    for place, name in ((config.run, "dir"), (config.data, "root"), (config.data, "val_root")):
        setattr(place, name, home(getattr(place, name)))
    validate_evaluation(config)
    return config, _stored(config.run.dir)


def compose_report(argv: Sequence[str]) -> ReportConfig:
    """Return what ``python -m worldjepa.report`` is asked for, such as ``["run.dir=runs/a"]``.

    Raises ``ConfigError``, one line that names the setting.
    """
    command = _read(argv, "report")
    config, _ = joined(command, "report")
    config.run.dir = home(config.run.dir)
    validate_report(config)
    return config


def _read(argv: Sequence[str], entry: str) -> Command:
    """Return what ``argv`` asks of a command without files of settings, each word checked by itself."""
    command, words = read_flags(argv)
    if command.config_dir:
        raise ConfigError("--config-dir: this command takes its settings from its words alone; leave it out")
    read_words(command, words, SCHEMAS[entry], {})
    return command


def _stored(run_dir: str | None) -> TrainConfig:
    """Return the settings that a run was trained with."""
    if run_dir is None:
        raise ConfigError("run.dir: no run is named; add one, such as run.dir=runs/two_rooms")
    path = Path(run_dir) / "config.yaml"
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(
            f"run.dir={run_dir}: no run was trained there ({path} cannot be read: {error})"
        ) from error
    return from_dict(values)
