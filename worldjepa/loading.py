"""From a run folder or a checkpoint folder to a ``WorldModel``, whole or not at all."""

from __future__ import annotations

from pathlib import Path

import torch

from worldjepa.build import build_model, pick_device
from worldjepa.model.world_model import WorldModel
from worldjepa.schema import from_dict
from worldjepa.training.checkpoint import LoadError, find_checkpoint, load_checkpoint, restore_module
from worldjepa.validate import validate

__all__ = ["LoadError", "find_checkpoint", "load"]


def load(path: str | Path, *, device: str = "auto") -> WorldModel:
    """Load the model of a run folder (its latest whole checkpoint) or of a checkpoint folder, in eval mode.

    Every file is checked against the sums written with it and every tensor must find its place; nothing is
    unpickled, and the stored settings are data checked against the schema.

    Args:
        path: ``runs/kinetics`` or ``runs/kinetics/checkpoints/step_00001000``.
        device: auto, cpu or cuda.

    Raises:
        LoadError: no such folder, or no checkpoint in it.
        TornFolderError: a file of the checkpoint is missing or was changed.
        KeyMismatchError: the tensors do not fit the model that the settings describe.
        ConfigError: the stored settings are not ours.
    """
    checkpoint = load_checkpoint(find_checkpoint(path), with_optimizer=False)
    config = from_dict(checkpoint.config)
    validate(config)
    model = build_model(config, pretrained=False)
    restore_module(model, checkpoint.model, source=str(checkpoint.path))
    return model.to(torch.device(pick_device(device))).eval()
