"""What is known of a model's training, gathered from its run for the card of the published model.

Settings that matter to others and figures that the run stored; no paths of the machine that it ran on.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from worldjepa.config import VIDEO_KINDS, TrainConfig
from worldjepa.plain_data import PlainDataError, read_json
from worldjepa.training.checkpoint import Checkpoint

# file of the run, place in it, and what it is called on the card
METRICS = (
    ("labels.json", ("trained", "linear"), "linear probe of the labels, accuracy on held-out files"),
    ("labels.json", ("trained", "knn"), "k-NN of the labels, accuracy on held-out files"),
    ("labels.json", ("chance",), "chance"),
    ("dynamics.json", ("rollout", "predicted", 0), "squared error of the latent predicted 1 step ahead"),
    ("dynamics.json", ("rollout", "predicted", -1), "squared error of the latent predicted furthest ahead"),
    ("dynamics.json", ("rollout", "copied", -1), "the same, of a copy of the last latent"),
    ("plan.json", ("success_rate",), "share of goals reached by planning"),
    ("plan.json", ("wilson_low",), "lower end of its 95 % interval"),
    ("plan.json", ("episodes",), "goals"),
)
LOGGED = ("loss", "effective_rank")


def run_facts(config: TrainConfig, checkpoint: Checkpoint) -> dict[str, Any]:
    """Return the facts of a checkpoint that stands in a run folder, or alone (then without metrics)."""
    facts: dict[str, Any] = {
        "experiment": config.experiment,
        "objective": config.objective.kind,
        "data": _data(config),
        "environment": config.env.id,
        "episodes": config.collect.num_episodes if config.env.id and config.data.root is None else None,
        "steps": checkpoint.step,
        "batch_size": config.train.batch_size,
        "precision": config.train.precision,
        "seed": config.seed,
        "versions": {name: str(version) for name, version in checkpoint.versions.items()},
    }
    metrics = _metrics(checkpoint) if checkpoint.path.parent.name == "checkpoints" else {}
    return {name: value for name, value in (facts | {"metrics": metrics}).items() if value is not None}


def _data(config: TrainConfig) -> str | None:
    """Return the names of the corpora, without where they lie."""
    roots = [config.data.root] if config.data.root else [source.root for source in config.data.sources]
    if roots:
        return ", ".join(Path(root).name for root in roots)
    return "the built-in corpus of moving shapes" if config.objective.kind in VIDEO_KINDS else None


def _metrics(checkpoint: Checkpoint) -> dict[str, float]:
    run_dir = checkpoint.path.parent.parent
    stored = {name: _read(run_dir / name) for name in dict.fromkeys(name for name, _, _ in METRICS)}
    found = {label: _number(stored[name], place) for name, place, label in METRICS}
    found |= {f"{name}, last logged": _number(_logged(run_dir), (name,)) for name in LOGGED}
    return {label: value for label, value in found.items() if value is not None}


def _read(path: Path) -> Any:
    try:
        return read_json(path)
    except PlainDataError:
        return None  # it was not measured


def _logged(run_dir: Path) -> dict[str, Any]:
    """Return each metric's last value; what is no record, such as a torn line, says nothing."""
    path, last = run_dir / "metrics.jsonl", {}
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    for line in text.splitlines()[-200:]:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict):
            last |= {name: value for name, value in record.items() if value is not None}
    return last


def _number(value: Any, place: tuple[str | int, ...]) -> float | None:
    for part in place:
        if isinstance(part, int):
            value = value[part] if isinstance(value, list) and value else None
        else:
            value = value.get(part) if isinstance(value, dict) else None
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
