"""What of a model is exported: functions of plain tensors with the inputs that they are traced with."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from worldjepa.export.deployed import Encode, Step
from worldjepa.model.action_predictor import ActionPredictor
from worldjepa.model.world_model import WorldModel

ROWS = 3  # of the inputs that a program is traced with


class ExportError(ValueError):
    """A model, or what is asked for, that cannot be exported; or a program that says something else."""


@dataclass(frozen=True)
class Function:
    """What is exported: a module, its inputs and what they and the outputs are called.

    ``rows`` says along which axis of each input the batch lies.
    """

    module: nn.Module
    inputs: dict[str, Tensor]
    rows: dict[str, int]
    outputs: tuple[str, ...]
    row_axes: tuple[int, ...]  # of the outputs


def encode_function(model: WorldModel, num_frames: int | None = None) -> Function:
    """Return ``encode`` of clips of ``num_frames`` frames (left out: one latent step).

    Raises:
        ExportError: frames that do not fill latent steps; or one step of an encoder that sees several.
    """
    per_step, attention = model.encoder.frames_per_step, getattr(model.encoder, "attention", "step")
    if num_frames is None and attention != "step":
        raise ExportError(
            f"the encoder's attention is {attention}: a latent depends on other frames of its clip; say how "
            "many there are (num_frames=16)"
        )
    frames = per_step if num_frames is None else num_frames
    if frames < 1 or frames % per_step:
        raise ExportError(f"num_frames={frames}: a latent step is {per_step} frames; pass a multiple of it")
    generator = torch.Generator().manual_seed(0)
    shape = (ROWS, frames, 3, model.image_size, model.image_size)
    pixels = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
    return Function(Encode(model), {"frames": pixels}, {"frames": 0}, ("latents",), (0,))


def step_function(model: WorldModel, history: int | None = None) -> Function:
    """Return one cached ``step`` that keeps ``history`` earlier latent steps.

    Raises:
        ExportError: another kind of predictor, a history that its window does not leave open, or none where
            it does.
    """
    predictor = model.predictor
    if not isinstance(predictor, ActionPredictor):
        raise ExportError(
            f"step of a {type(predictor).__name__} cannot be exported, only an ActionPredictor's"
        )
    if predictor.window is not None:
        if history not in (None, predictor.window - 1):
            raise ExportError(
                f"history={history}: the predictor's window of {predictor.window} latent steps needs "
                f"{predictor.window - 1} earlier ones; leave history out"
            )
        history = predictor.window - 1
    if history is None or history < 0:
        raise ExportError(
            "history: the predictor looks back without limit (window=null); say how many earlier latent "
            "steps are to be kept, such as history=16; further steps forget the oldest"
        )
    generator = torch.Generator().manual_seed(0)
    step = Step(model, predictor, history)
    latent = torch.randn(ROWS, predictor.grid.p, predictor.latent_dim, generator=generator)
    action = torch.randn(ROWS, predictor.action_dim, generator=generator)
    keys, values, _ = step.beginning(ROWS)
    inputs = {
        "latent": model.normalise(latent),
        "action": action,
        "keys": torch.randn(keys.shape, generator=generator),
        "values": torch.randn(values.shape, generator=generator),
        "position": torch.arange(ROWS),  # one that begins, others under way
    }
    rows = {"latent": 0, "action": 0, "keys": 2, "values": 2, "position": 0}
    if predictor.proprioception_dim:
        measured = torch.randn(ROWS, predictor.proprioception_dim, generator=generator)
        measured[-1] = torch.nan
        inputs["proprioception"], rows["proprioception"] = measured, 0
    outputs = ("next_latent", "next_keys", "next_values", "next_position")
    return Function(step, inputs, rows, outputs, (0, 2, 2, 0))
