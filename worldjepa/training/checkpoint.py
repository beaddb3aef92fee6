"""A checkpoint's contents: weights and optimiser state by name, and JSON for the rest.

``step_00010000/`` holds ``config.yaml``, ``model.safetensors``, ``train_state.safetensors`` and
``train_state.json`` beside its manifest. Loading is strict and all or nothing.
"""

from __future__ import annotations

import json
import logging
import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn

from worldjepa.artifact import (
    MANIFEST,
    TornFolderError,
    Writer,
    checkpoint_path,
    checkpoint_step,
    is_whole,
    latest_checkpoint,
    point_latest,
    prune_checkpoints,
    verify_folder,
    write_folder,
)
from worldjepa.plain_data import read_json, read_yaml
from worldjepa.tensorfile import read_tensors, write_tensors

logger = logging.getLogger(__name__)

_PACKAGES = ("worldjepa", "torch", "torchvision", "numpy", "safetensors", "av", "decord", "torchcodec")
_FILES = ("config.yaml", "model.safetensors", "train_state.safetensors", "train_state.json")
_DATA = (".yaml", ".json", ".safetensors")
_LISTED = 10


class KeyMismatchError(ValueError):
    """Saved tensors do not fit what they are to be loaded into; nothing was loaded."""


class LoadError(ValueError):
    """There is no checkpoint where one was asked for."""


@dataclass(frozen=True)
class Checkpoint:
    """What ``load_checkpoint`` found. ``config`` is plain data, not yet checked against the schema.

    ``model`` and ``optimizer`` map names to tensors on the CPU; ``record`` is the caller's JSON;
    ``versions`` are those of the packages that wrote it.
    """

    path: Path
    step: int
    config: dict[str, Any]
    model: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    record: dict[str, Any]
    versions: dict[str, str]


def save_checkpoint(
    run_dir: Path | str,
    step: int,
    *,
    config: Mapping[str, Any],
    model: Mapping[str, Tensor],
    optimizer: Mapping[str, Tensor],
    record: Mapping[str, Any],
    keep_last: int = 2,
    keep_every: int | None = None,
) -> Path:
    """Write ``checkpoints/step_XXXXXXXX`` whole or not at all, move ``latest``, prune; return the folder.

    ``model`` is a state dict, ``optimizer`` what ``optimizer_tensors`` returns, ``record`` anything JSON
    holds (counters, the file list's hash). A whole checkpoint of the same step is left as it is: a run
    is a function of its settings and the step. Raises ``CheckpointWriteError`` (disk full, ...).
    """
    path = checkpoint_path(run_dir, step)
    if is_whole(path):
        logger.info("%s is already saved", path)
        return path
    write_checkpoint(path, step, config=config, model=model, optimizer=optimizer, record=record)
    try:
        point_latest(path)
        prune_checkpoints(run_dir, keep_last=keep_last, keep_every=keep_every)
    except OSError as error:  # the checkpoint itself stands, and neither step is needed to resume
        logger.warning("%s is saved, but tidying up after it failed: %s", path, error)
    return path


def write_checkpoint(
    path: Path,
    step: int,
    *,
    config: Mapping[str, Any],
    model: Mapping[str, Tensor],
    optimizer: Mapping[str, Tensor],
    record: Mapping[str, Any],
) -> None:
    """Write one checkpoint folder, whole or not at all; arguments and errors are ``save_checkpoint``'s."""
    state = {"step": step, "record": dict(record), "versions": package_versions()}
    writers: dict[str, Writer] = {
        "config.yaml": _text(yaml.safe_dump(dict(config), sort_keys=False)),
        "model.safetensors": _tensors({clean_name(name): tensor for name, tensor in model.items()}),
        "train_state.safetensors": _tensors(optimizer),
        "train_state.json": _text(json.dumps(state, indent=2) + "\n"),
    }
    write_folder(path, writers)


def load_checkpoint(path: Path | str, *, with_optimizer: bool = True) -> Checkpoint:
    """Read a checkpoint folder after checking every file against the manifest.

    ``with_optimizer=False`` leaves ``optimizer`` empty (inference). Raises ``TornFolderError``.
    """
    path = Path(path)
    verify_folder(path)
    for name in _FILES:
        if not (path / name).exists():
            raise TornFolderError(f"{path} is whole, but holds no {name}: it is not a checkpoint")
    for file in path.iterdir():
        if file.suffix not in _DATA:
            raise TornFolderError(f"{path} holds {file.name}, which no checkpoint has; nothing was read")
    state, config = read_json(path / "train_state.json"), read_yaml(path / "config.yaml")
    parts = {"step": int, "record": dict, "versions": dict}
    found = state if isinstance(state, dict) else {}
    wrong = [name for name, kind in parts.items() if type(found.get(name)) is not kind]
    if wrong or not isinstance(config, dict):
        what = f"train_state.json has no {wrong[0]}" if wrong else "config.yaml holds no settings"
        raise TornFolderError(f"{path} is whole, but its {what}: it is not a checkpoint")
    return Checkpoint(
        path=path,
        step=state["step"],
        config=config,
        model=read_tensors(path / "model.safetensors"),
        optimizer=read_tensors(path / "train_state.safetensors") if with_optimizer else {},
        record=state["record"],
        versions=state["versions"],
    )


def find_checkpoint(path: str | Path) -> Path:
    """Return the checkpoint folder that ``path`` means.

    Raises:
        LoadError: no such folder, or no whole checkpoint in it.
    """
    path = Path(path).expanduser()
    if not path.is_dir():
        there = "is a file" if path.exists() else "no such folder"
        raise LoadError(f"{path}: {there}; pass a run folder (runs/<experiment>) or a checkpoint folder")
    if checkpoint_step(path) is not None or (path / MANIFEST).is_file():  # also one that was renamed
        return path
    run_dir = path.parent if path.name == "checkpoints" else path
    found = latest_checkpoint(run_dir)
    if found is None:
        raise LoadError(
            f"{run_dir}: no whole checkpoint in {run_dir / 'checkpoints'}; has the run saved one yet "
            "(train.checkpoint_every)?"
        )
    return found


def package_versions() -> dict[str, str]:
    """Return the versions that a bitwise resume depends on, for those packages that are installed."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


# --- names and tensors ---------------------------------------------------------------------------


def clean_name(name: str) -> str:
    """Return a parameter's name without what DDP (``module.``) and compile (``_orig_mod.``) wrap it in."""
    return name.replace("_orig_mod.", "").removeprefix("module.")


def restore_module(module: nn.Module, tensors: Mapping[str, Tensor], *, source: str = "checkpoint") -> None:
    """Load ``tensors`` into ``module`` strictly.

    Raises ``KeyMismatchError`` listing missing, unexpected and differently shaped keys, or one that holds NaN
    or infinity, before anything is changed.
    """
    check_fit(module, tensors, source=source)
    wild = next((name for name, tensor in tensors.items() if not bool(tensor.isfinite().all())), None)
    if wild is not None:
        raise KeyMismatchError(
            f"{source}: {wild} holds numbers that are not finite (NaN or infinite); nothing was loaded. "
            "Take an earlier checkpoint, or another copy."
        )
    names = {clean_name(name): name for name in module.state_dict()}
    module.load_state_dict({names[name]: tensor for name, tensor in tensors.items()})


def check_fit(module: nn.Module, tensors: Mapping[str, Tensor], *, source: str = "checkpoint") -> None:
    """Raise ``KeyMismatchError`` unless ``tensors`` are those of ``module``, by name, shape and dtype."""
    own = {clean_name(name): tensor for name, tensor in module.state_dict().items()}
    shapes = {name: tuple(tensor.shape) for name, tensor in own.items()}
    _check_keys(shapes, {name: tuple(t.shape) for name, t in tensors.items()}, source, "the model")
    odd = next((name for name, tensor in tensors.items() if tensor.dtype != own[name].dtype), None)
    if odd is not None:
        raise KeyMismatchError(
            f"{source} does not fit the model; nothing was loaded. {odd} is of "
            f"{tensors[odd].dtype}, expected {own[odd].dtype}."
        )


def optimizer_tensors(
    optimizer: torch.optim.Optimizer, named_parameters: Iterable[tuple[str, nn.Parameter]]
) -> dict[str, Tensor]:
    """Return an optimiser's state as ``optim.<kind>.<parameter name>`` -> tensor.

    By name, so that neither the order nor the grouping of parameters matters. A parameter that has
    never had a gradient has no state and adds nothing.
    """
    return {
        f"optim.{kind}.{clean_name(name)}": value
        for name, parameter in named_parameters
        for kind, value in optimizer.state.get(parameter, {}).items()
    }


def restore_optimizer(
    optimizer: torch.optim.Optimizer,
    named_parameters: Iterable[tuple[str, nn.Parameter]],
    tensors: Mapping[str, Tensor],
    *,
    source: str = "checkpoint",
) -> None:
    """Load what ``optimizer_tensors`` returned; learning rates and the like stay as they are.

    Raises ``KeyMismatchError`` for state of unknown parameters, incomplete state of a parameter, or
    moments of another shape, before anything is changed.
    """
    names = {parameter: clean_name(name) for name, parameter in named_parameters}
    ordered = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    kinds = {key.split(".", 2)[1] for key in tensors}
    expected: dict[str, tuple[int, ...]] = {}
    state: dict[int, dict[str, Tensor]] = {}
    for index, parameter in enumerate(ordered):
        keys = {kind: f"optim.{kind}.{names[parameter]}" for kind in kinds}
        if not any(key in tensors for key in keys.values()):
            continue
        shape = tuple(parameter.shape)
        expected |= {key: () if kind == "step" else shape for kind, key in keys.items()}
        state[index] = {kind: tensors[key] for kind, key in keys.items() if key in tensors}
    _check_keys(expected, {k: tuple(t.shape) for k, t in tensors.items()}, source, "the optimizer")
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def _check_keys(
    expected: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]], source: str, into: str
) -> None:
    """Raise ``KeyMismatchError`` unless both have the same keys with the same shapes."""
    both = [key for key in expected if key in found]
    kinds = {
        "missing": [key for key in expected if key not in found],
        "unexpected": [key for key in found if key not in expected],
        "of another shape": [
            f"{key} {found[key]}, expected {expected[key]}" for key in both if found[key] != expected[key]
        ],
    }
    report = [f"{len(keys)} {kind}: {_first(keys)}" for kind, keys in kinds.items() if keys]
    if report:
        raise KeyMismatchError(
            f"{source} does not fit {into}; nothing was loaded. {'. '.join(report)}. "
            "Build the model with the settings it was saved with (config.yaml beside it)."
        )


def _first(keys: list[str]) -> str:
    more = f", and {len(keys) - _LISTED} more" if len(keys) > _LISTED else ""
    return ", ".join(keys[:_LISTED]) + more


def _text(text: str) -> Writer:
    return lambda path: path.write_text(text, encoding="utf-8")


def _tensors(tensors: Mapping[str, Tensor]) -> Writer:
    return lambda path: write_tensors(path, tensors)
