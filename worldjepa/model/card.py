"""The card of a published model: the hub's YAML head, what it is, how it was trained, how to load it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

_LABELS = {
    "experiment": "experiment",
    "objective": "objective",
    "data": "data",
    "environment": "environment",
    "episodes": "episodes",
    "steps": "training steps",
    "batch_size": "batch size",
    "precision": "precision",
    "seed": "seed",
    "converted_from": "converted from",
}


def model_card(
    described: Mapping[str, Any], facts: Mapping[str, Any], parameters: int, name: str | None = None
) -> str:
    """Return ``README.md`` of a model.

    Args:
        described: the arguments that it is built with.
        facts: what is known of its training: settings by the names of ``_LABELS``, ``metrics`` (name to
            number), ``versions`` and ``licence``.
        parameters: how many there are.
        name: OWNER/NAME on the hub, where it is known.
    """
    acts = described.get("predictor") is not None
    head: dict[str, Any] = {
        "library_name": "worldjepa",
        "tags": ["worldjepa", "jepa", "video", *(["world-model", "planning"] if acts else [])],
        "pipeline_tag": "robotics" if acts else "feature-extraction",
    }
    if facts.get("licence"):
        head["license"] = str(facts["licence"])
    parts = [
        f"---\n{yaml.safe_dump(head, sort_keys=False)}---\n",
        f"# {_title(facts, acts)}\n",
        _summary(described, parameters, acts),
        _training(facts),
        _metrics(facts),
        _usage(described, acts, name),
        f"## Licence\n\n{facts.get('licence') or 'Not stated by those who published it.'}\n",
    ]
    return "\n".join(part for part in parts if part)


def _title(facts: Mapping[str, Any], acts: bool) -> str:
    name = facts.get("environment") or facts.get("data") or facts.get("experiment")
    return f"{'World model' if acts else 'Video encoder'}{f' of {_cell(name)}' if name else ''}"


def _summary(described: Mapping[str, Any], parameters: int, acts: bool) -> str:
    what = (
        "It encodes frames into latents and predicts the latents that follow under given actions."
        if acts
        else "It encodes video clips into latents."
    )
    size = described["image_size"]
    return (
        f"Trained with worldjepa by prediction in latent space. {what}\n"
        f"{parameters:,} parameters; frames of {size} x {size} pixels.\n"
    )


def _training(facts: Mapping[str, Any]) -> str:
    rows = [
        f"| {label} | {_cell(facts[name])} |"
        for name, label in _LABELS.items()
        if facts.get(name) is not None
    ]
    rows += [f"| {_cell(name)} | {_cell(text)} |" for name, text in dict(facts.get("versions", {})).items()]
    if not rows:
        return "## Training\n\nNothing is known of it: the model was not loaded from a run.\n"
    return "\n".join(["## Training\n", "| | |", "|---|---|", *rows, ""])


def _metrics(facts: Mapping[str, Any]) -> str:
    metrics = dict(facts.get("metrics", {}))
    if not metrics:
        return "## Metrics\n\nNone were stored with the run.\n"
    rows = [f"| {_cell(name)} | {value:.4g} |" for name, value in metrics.items()]
    return "\n".join(["## Metrics\n", "| measured by the run | |", "|---|---|", *rows, ""])


def _usage(described: Mapping[str, Any], acts: bool, name: str | None) -> str:
    size = described["image_size"]
    lines = [
        "## How to load it\n",
        "```python",
        "import worldjepa",
        "",
        f'model = worldjepa.load("hf:{name or "OWNER/NAME"}")  # or a folder; @REVISION pins a commit',
        f"latents = model.encode(frames)  # uint8 [b f 3 y x], brought to {size} px -> [b t p d]",
    ]
    if acts:
        lines.append("future = model.rollout(latents, actions)  # action blocks in environment units [b l a]")
    return "\n".join([*lines, "```", ""])


def _cell(value: Any) -> str:
    """Return a value as the text of a table's cell."""
    return " ".join(str(value).replace("|", "/").split())
