"""What a run left in its folder, as far as it can be read, and what is missing or damaged."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from worldjepa.artifact import latest_checkpoint
from worldjepa.config import TrainConfig
from worldjepa.plain_data import PlainDataError, read_json, read_yaml
from worldjepa.settings.schema import ConfigError, from_dict
from worldjepa.settings.validate import validate

RESULTS = (
    "environment.json",
    "labels.json",
    "dynamics.json",
    "plan.json",
    "evaluation.json",
    "online.json",
)
MOST_METRICS = 64 << 20  # bytes of metrics.jsonl that are read, from its end

Logged = dict[str, float | None]  # one line of metrics.jsonl; None was not finite


class NoRunError(ValueError):
    """There is no run where one was asked for."""


@dataclass
class RunRecord:
    """A run as its folder shows it. ``results``: JSON files by name; ``trouble``: what could not be read."""

    folder: Path
    config: TrainConfig | None = None
    metrics: list[Logged] = field(default_factory=list)
    results: dict[str, Any] = field(default_factory=dict)
    checkpoint: Path | None = None
    trouble: list[str] = field(default_factory=list)

    def series(self, name: str, over: str = "step") -> list[tuple[float, float | None]]:
        """Return a logged figure over the steps at which it was logged."""
        found = []
        for line in self.metrics:
            at = line.get(over)
            if name in line and at is not None:
                found.append((at, line[name]))
        return found

    def last(self, name: str) -> float | None:
        """Return the last finite value of a logged figure."""
        return next((line[name] for line in reversed(self.metrics) if line.get(name) is not None), None)

    @property
    def steps(self) -> int:
        """Updates that the log knows of."""
        return int(max((line["step"] or 0 for line in self.metrics if "step" in line), default=0))


def read_run(folder: Path) -> RunRecord:
    """Read what is there.

    Raises:
        NoRunError: no folder, or nothing in it that a run leaves.
    """
    if not folder.is_dir():
        raise NoRunError(
            f"run.dir={folder}: there is no such folder; name that of a run, such as runs/kinetics"
        )
    record = RunRecord(folder, checkpoint=latest_checkpoint(folder))
    _read_config(record)
    _read_metrics(record)
    for name in RESULTS:
        if (folder / name).exists():
            try:
                record.results[name] = read_json(folder / name)
            except PlainDataError as error:
                record.trouble.append(f"{name} is left out: {error}")
    if record.config is None and not record.metrics and record.checkpoint is None:
        raise NoRunError(f"run.dir={folder}: no run was trained there (no settings, log or checkpoint)")
    return record


def _read_config(record: RunRecord) -> None:
    """Read the settings, or else those of the last checkpoint."""
    places = [record.folder / "config.yaml"]
    if record.checkpoint is not None:
        places.append(record.checkpoint / "config.yaml")
    for path in places:
        try:
            config = from_dict(read_yaml(path))
            validate(config)
        except (PlainDataError, ConfigError, AttributeError, TypeError) as error:
            record.trouble.append(f"{path.relative_to(record.folder)} cannot be used: {error}")
        else:
            record.config = config
            return


def _read_metrics(record: RunRecord) -> None:
    path = record.folder / "metrics.jsonl"
    if not path.is_file():
        record.trouble.append("metrics.jsonl is not there: nothing was logged yet, or it was removed")
        return
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - MOST_METRICS))
        lines = file.read().decode("utf-8", errors="replace").splitlines()
    read = [_numbers(line) for line in lines]
    record.metrics = [line for line in read if line]
    torn = len(read) - len(record.metrics)
    if torn:
        record.trouble.append(f"metrics.jsonl: {torn} of {len(read)} lines cannot be read and are left out")


def _numbers(line: str) -> Logged | None:
    """Return the numbers of one line; None if it is no record of a step."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or not isinstance(found.get("step"), int):
        return None
    return {name: _number(value) for name, value in found.items() if value is None or _is_number(value)}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _number(value: Any) -> float | None:
    """Return a finite number, None for any other (whole numbers may be too large for a float)."""
    try:
        return value if value is not None and math.isfinite(value) else None
    except OverflowError:
        return None
