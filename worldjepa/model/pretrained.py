"""A model as a folder of its own, to publish and to load: ``config.json``, weights and a card.

``config.json`` says how the model is built (``blueprint.py``), the sum of the weights, and what is known of
its training. Safetensors and JSON only. Unlike a checkpoint it holds nothing of a run's settings: no paths,
no state of an optimiser, nothing that would be needed to go on training.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from worldjepa.artifact import write_file
from worldjepa.model.blueprint import BlueprintError, describe_arguments
from worldjepa.model.card import model_card
from worldjepa.plain_data import read_json
from worldjepa.tensorfile import read_tensors, write_tensors

Model = TypeVar("Model", bound=nn.Module)
CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"
LIBRARY, FORMAT = "worldjepa", 1
TABLES_BYTES = 1 << 26  # of tables that a model makes for itself and that no file holds


class PretrainedError(ValueError):
    """A folder is not a model as ``save_pretrained`` writes it, or it was changed."""


@dataclass(frozen=True)
class Description:
    """What ``config.json`` says: arguments of the model, sum and length of the weights, facts of training."""

    model: dict[str, Any]
    sha256: str
    bytes: int
    facts: dict[str, Any]


def save_model(
    model: nn.Module,
    folder: str | Path,
    *,
    facts: Mapping[str, Any],
    licence: str | None = None,
    name: str | None = None,
) -> Path:
    """Write a model into ``folder``, in place of one that may be there; the description last.

    Args:
        model: a ``WorldModel``.
        folder: made if need be.
        facts: what is known of the training, for the card and for whoever saves the model again.
        licence: of the weights, as the hub names it (``apache-2.0``); left out, that of ``facts``, if any.
        name: OWNER/NAME on the hub, for the card.

    Raises:
        BlueprintError: a model with parts of the user's own, or not in float32.
        PretrainedError: facts that no card can be filled with.
    """
    folder, facts = Path(folder), dict(facts) | ({"licence": licence} if licence else {})
    tensors = model.state_dict()
    odd = {str(t.dtype) for t in tensors.values() if t.is_floating_point() and t.dtype != torch.float32}
    if odd:
        raise BlueprintError(f"the model is in {', '.join(sorted(odd))}; save it in float32: model.float()")
    if not _are_facts(facts):
        raise PretrainedError(
            "model.facts must hold plain values, metrics (name to number) and versions (name to text)"
        )
    described = describe_arguments(model)
    folder.mkdir(parents=True, exist_ok=True)
    staging = folder / f".staging-{WEIGHTS}"
    try:
        write_tensors(staging, tensors)
        weights = {"sha256": _sha256(staging), "bytes": staging.stat().st_size}
        os.replace(staging, folder / WEIGHTS)
    finally:
        staging.unlink(missing_ok=True)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    write_file(folder / CARD, model_card(described, facts, parameters, name))
    description = {
        "library": LIBRARY,
        "format": FORMAT,
        "model": described,
        "weights": weights,
        "facts": facts,
    }
    write_file(folder / CONFIG, json.dumps(description, indent=2) + "\n")
    return folder


def read_description(folder: Path) -> Description | None:
    """Return what ``config.json`` says, its form checked; None if it is another library's.

    Raises:
        PretrainedError: anything else than what ``save_pretrained`` writes.
        PlainDataError: no JSON, or more than plain data.
    """
    found = read_json((folder / CONFIG).resolve())
    if not isinstance(found, dict) or found.get("library") != LIBRARY:
        return None
    if found.get("format") != FORMAT:
        raise PretrainedError(
            f"{folder} has format {found.get('format')!r}; this version of worldjepa reads format {FORMAT}"
        )
    model, weights, facts = (found.get(name) for name in ("model", "weights", "facts"))
    known = {"library", "format", "model", "weights", "facts"}
    right = isinstance(model, dict) and isinstance(weights, dict) and isinstance(facts, dict)
    right = right and found.keys() == known and weights.keys() == {"sha256", "bytes"}  # pyright: ignore
    if not right or not _are_facts(facts):  # pyright: ignore
        raise PretrainedError(
            f"{folder / CONFIG} must hold {', '.join(sorted(known))} as save_pretrained writes them"
        )
    return Description(model, weights["sha256"], weights["bytes"], facts)  # pyright: ignore


def _are_facts(facts: Mapping[str, Any]) -> bool:
    """Tell whether facts are what a card can be filled with again."""
    groups = {name: facts.get(name, {}) for name in ("metrics", "versions")}
    if not all(isinstance(group, Mapping) for group in groups.values()):
        return False
    numbers = all(isinstance(value, int | float) for value in groups["metrics"].values())
    rest = [*groups["versions"].values(), *(value for name, value in facts.items() if name not in groups)]
    return numbers and all(isinstance(value, str | int | float) for value in rest)


def weights_file(folder: Path) -> Path:
    """Return the file of the weights (where links may lead is checked before: ``hub.check_links``).

    Raises:
        PretrainedError: there is none.
    """
    path = (folder / WEIGHTS).resolve()
    if not path.is_file():
        raise PretrainedError(f"{folder} lacks {WEIGHTS}")
    return path


def read_weights(folder: Path, description: Description) -> dict[str, Tensor]:
    """Return the tensors of a folder, checked against their sum.

    Raises:
        PretrainedError: the file is missing, or not the one that was described.
        TensorFileError: it is no safetensors file.
    """
    path = weights_file(folder)
    if path.stat().st_size != description.bytes or _sha256(path) != description.sha256:
        raise PretrainedError(f"the contents of {path} differ from the sum in {CONFIG}: a damaged copy")
    return read_tensors(path)


def build_to_fit(build: Callable[[], Model], check: Callable[[Model], None]) -> Model:
    """Return ``build()``, after ``check`` passed on one that takes no memory.

    So settings cannot make a model larger than the weights at hand, with which ``check`` compares it.

    Raises:
        PretrainedError: tables of positions larger than those of any model of ours.
    """
    with torch.device("meta"):
        empty = build()
    check(empty)
    kept = empty.state_dict()
    tables = sum(buffer.nbytes for name, buffer in empty.named_buffers() if name not in kept)
    if tables > TABLES_BYTES:
        raise PretrainedError(f"the model would make tables of {tables} bytes for itself; refused")
    return build()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
