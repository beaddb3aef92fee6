"""From a run, a checkpoint, a published model or one on the hub to a ``WorldModel``, whole or not at all."""

from __future__ import annotations

from pathlib import Path

import torch

from worldjepa.build import build_model, pick_device
from worldjepa.conversion import complete
from worldjepa.hub import check_links, fetch, is_address
from worldjepa.model.blueprint import read_arguments
from worldjepa.model.foreign import read_foreign
from worldjepa.model.pretrained import (
    CONFIG,
    Description,
    build_to_fit,
    read_description,
    read_weights,
    weights_file,
)
from worldjepa.model.world_model import WorldModel
from worldjepa.run_facts import run_facts
from worldjepa.settings.schema import from_dict
from worldjepa.settings.validate import validate
from worldjepa.tensorfile import read_outline
from worldjepa.training.checkpoint import (
    LoadError,
    check_fit,
    find_checkpoint,
    load_checkpoint,
    restore_module,
)

__all__ = ["LoadError", "find_checkpoint", "load"]


def load(path: str | Path, *, device: str = "auto") -> WorldModel:
    """Load a model, in eval mode.

    Sums written beside the weights are checked and every tensor must find its place; nothing is unpickled,
    and what is stored of settings is data, checked before anything of the size it names is allocated.

    Args:
        path: a run folder (its latest whole checkpoint), a checkpoint folder, a folder that
            ``save_pretrained`` wrote or one of ``transformers``' VJEPA2, or on the hub ``hf:owner/name`` or
            ``hf:owner/name@revision``.
        device: auto, cpu or cuda.

    Raises:
        LoadError: no such folder, or no checkpoint in it.
        TornFolderError: a file of the checkpoint is missing or was changed.
        KeyMismatchError: the tensors do not fit the model that the settings describe.
        ConfigError: the stored settings are not ours.
        PretrainedError, BlueprintError, PlainDataError, TensorFileError, ForeignError: a published model that
            is damaged, or is no such model.
        HubError: it cannot be fetched.
        ImportError: huggingface_hub is not installed.
    """
    folder = fetch(str(path)) if is_address(path) else Path(path).expanduser()
    model = _load_published(folder) if (folder / CONFIG).exists() else _load_checkpoint(folder)
    return model.to(torch.device(pick_device(device))).eval()


def _load_checkpoint(folder: Path) -> WorldModel:
    checkpoint = load_checkpoint(find_checkpoint(folder), with_optimizer=False)
    config = from_dict(checkpoint.config)
    validate(config)
    source = str(checkpoint.path)
    model = build_to_fit(
        lambda: build_model(config, pretrained=False),
        lambda empty: check_fit(empty, checkpoint.model, source=source),
    )
    restore_module(model, checkpoint.model, source=source)
    model.facts = run_facts(config, checkpoint)
    return model


def _load_published(folder: Path) -> WorldModel:
    check_links(folder)
    description = read_description(folder)
    return _load_foreign(folder) if description is None else _load_pretrained(folder, description)


def _load_pretrained(folder: Path, description: Description) -> WorldModel:
    outline, source = read_outline(weights_file(folder)), str(folder)
    model = build_to_fit(
        lambda: WorldModel(**read_arguments(WorldModel, description.model, "model")),
        lambda empty: check_fit(empty, outline, source=source),
    )
    restore_module(model, read_weights(folder, description), source=source)
    model.facts = description.facts
    return model


def _load_foreign(folder: Path) -> WorldModel:
    return complete(read_foreign(folder))[0]
