"""Our encoder, and the masked predictor where there is one, as a folder that ``transformers`` loads.

``VJEPA2Model.from_pretrained(out)`` gives ``last_hidden_state``, which is ``model.target_encoder(x)`` of
ours: the latents before the latent norm. The names are those that converting reads
(``model/foreign/names.py``), backwards.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from worldjepa.artifact import write_folder
from worldjepa.export.functions import ExportError
from worldjepa.model.blueprint import describe_arguments
from worldjepa.model.encoder import VideoEncoder
from worldjepa.model.foreign.names import TRANSFORMERS_ENCODER, TRANSFORMERS_PREDICTOR, Table, to_theirs
from worldjepa.model.frames import PIXEL_MEAN, PIXEL_STD
from worldjepa.model.predictor import MaskedPredictor
from worldjepa.model.world_model import WorldModel
from worldjepa.tensorfile import write_tensors

# what transformers' VJEPA2 does, as arguments of ours
ENCODER_MUST = {"positions": "rope", "rope": "vjepa2", "attention": "full", "window": None, "projector": None}
PREDICTOR_MUST = {"positions": "rope", "rope": "vjepa2"}


def export_transformers(model: WorldModel, out: str | Path) -> dict[str, Any]:
    """Write ``config.json``, ``model.safetensors`` and the settings of the processor; return the first.

    The encoder is the one that ``encode`` uses. A model without a masked predictor gives a folder without
    one: call it there with ``skip_predictor=True``.

    Args:
        model: as loaded.
        out: a folder that is not there yet.

    Raises:
        ExportError: an encoder or predictor that ``transformers``' VJEPA2 cannot be; it names what differs.
    """
    encoder = model.encoder if model.target_encoder is None else model.target_encoder
    config, tensors = encoder_in_their_terms(encoder)
    config |= {"crop_size": model.image_size}
    if model.masked_predictor is not None:
        extra, found = predictor_in_their_terms(model.masked_predictor)
        config, tensors = config | extra, tensors | found
    else:
        config["pred_num_hidden_layers"] = 0
    processor = {  # it resizes to 8/7 of the crop, as the published models were tested, whatever is set
        "video_processor_type": "VJEPA2VideoProcessor",
        "crop_size": {"height": model.image_size, "width": model.image_size},
        "image_mean": list(PIXEL_MEAN),
        "image_std": list(PIXEL_STD),
    }
    write_folder(
        out,
        {
            "config.json": lambda path: path.write_text(json.dumps(config, indent=2) + "\n"),
            "video_preprocessor_config.json": lambda path: path.write_text(json.dumps(processor, indent=2)),
            "model.safetensors": lambda path: write_tensors(path, tensors),
        },
    )
    return config


def encoder_in_their_terms(encoder: nn.Module) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return settings and tensors of a VJEPA2 encoder.

    Raises:
        ExportError: another kind of encoder.
    """
    if not isinstance(encoder, VideoEncoder):
        raise ExportError(
            f"a {type(encoder).__name__} is no VJEPA2 encoder; only encoders of video can be one"
        )
    has = _must("model.encoder", encoder, ENCODER_MUST)
    if has["frames_per_step"] != has["tubelet_size"]:
        raise ExportError(
            f"model.encoder.frames_per_step={has['frames_per_step']}: transformers' VJEPA2 fills a tubelet "
            f"with {has['tubelet_size']} frames"
        )
    config = {
        "model_type": "vjepa2",
        "architectures": ["VJEPA2Model"],
        "hidden_size": has["dim"],
        "num_hidden_layers": has["depth"],
        "num_attention_heads": has["num_heads"],
        "mlp_ratio": has["mlp_ratio"],
        "patch_size": has["patch_size"],
        "tubelet_size": has["tubelet_size"],
        "in_chans": has["channels"],
        "layer_norm_eps": encoder.norm.eps,
        "dtype": "float32",
    }
    kernel = (has["channels"], has["tubelet_size"], has["patch_size"], has["patch_size"])
    return config, _tensors("encoder", encoder, TRANSFORMERS_ENCODER, has["num_heads"], kernel)


def predictor_in_their_terms(predictor: MaskedPredictor) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return settings and tensors of a VJEPA2 predictor.

    Raises:
        ExportError: one with other positions.
    """
    has = _must("model.masked_predictor", predictor, PREDICTOR_MUST)
    config = {
        "pred_hidden_size": has["dim"],
        "pred_num_hidden_layers": has["depth"],
        "pred_num_attention_heads": has["num_heads"],
        "pred_mlp_ratio": has["mlp_ratio"],
        "pred_num_mask_tokens": has["num_mask_tokens"],
    }
    return config, _tensors("predictor", predictor, TRANSFORMERS_PREDICTOR, has["num_heads"], ())


def _must(name: str, part: nn.Module, must: dict[str, Any]) -> dict[str, Any]:
    """Return a part's arguments, after comparing them with those that VJEPA2 implies."""
    has = describe_arguments(part)
    for argument, value in must.items():
        if has[argument] != value:
            shown = has[argument]["kind"] if isinstance(has[argument], dict) else has[argument]
            only = "null" if value is None else value
            raise ExportError(
                f"{name}.{argument}={shown}: transformers' VJEPA2 has only {only}; a model that was trained "
                f"with {name}.{argument}={only} can be exported"
            )
    return has


def _tensors(
    part: str, module: nn.Module, table: Table, num_heads: int, kernel: tuple[int, ...]
) -> dict[str, Tensor]:
    found = to_theirs(module.state_dict(), table, num_heads=num_heads, kernel=kernel)
    return {f"{part}.{name}": tensor.contiguous() for name, tensor in found.items()}
