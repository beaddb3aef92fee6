"""Hugging Face's VJEPA2: a folder with ``config.json`` and safetensors, whole or in shards.

``VJEPA2ForVideoClassification`` is read as well, without its pooler and classifier. Facts from
transformers' ``models/vjepa2``; its mask token number 1 is the one its predictor uses by default.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from worldjepa.model.foreign.contents import Foreign, ForeignError, Report
from worldjepa.model.foreign.files import read_safetensors
from worldjepa.model.foreign.joining import Part, join_video_model
from worldjepa.model.foreign.names import TRANSFORMERS_ENCODER, TRANSFORMERS_PREDICTOR
from worldjepa.model.foreign.pixels import Pixels
from worldjepa.plain_data import read_json
from worldjepa.settings.convert import ConvertConfig

FORMAT = "Hugging Face VJEPA2 (safetensors)"
PROCESSORS = ("video_preprocessor_config.json", "preprocessor_config.json")
_FIXED = {"hidden_act": "gelu", "layer_norm_eps": 1e-6, "qkv_bias": True, "in_chans": 3}
_HEADS = ("pooler.", "classifier.")


def read_transformers_folder(path: Path, config: Mapping[str, Any], asked: ConvertConfig) -> Foreign:
    """Read the folder whose ``config.json`` is ``config`` (errors: those of ``from_transformers``)."""
    return from_transformers(read_safetensors(path), config, asked, _pixels(path))


def from_transformers(
    tensors: Mapping[str, Tensor],
    config: Mapping[str, Any],
    asked: ConvertConfig | None = None,
    pixels: Pixels | None = None,
) -> Foreign:
    """Return a VJEPA2 model's state dict and settings as ours.

    Raises:
        ForeignError: another architecture or variant of it, or tensors that do not agree with the settings.
    """
    asked = asked or ConvertConfig()
    for name, value in _FIXED.items():
        if config.get(name, value) != value:
            raise ForeignError(f"config.json: {name}={config[name]!r} cannot be built here, only {value!r}")
    parts, left_over = _by_part(tensors)
    heads = asked.num_heads or _whole(config, "num_attention_heads", 16)
    pred_heads = asked.predictor_heads or _whole(config, "pred_num_attention_heads", 12)
    predictor = Part(parts["predictor"], TRANSFORMERS_PREDICTOR, pred_heads)
    found = join_video_model(
        Report(FORMAT, left_over=left_over),
        encoder=Part(parts["encoder"], TRANSFORMERS_ENCODER, heads),
        predictor=predictor if parts["predictor"] else None,
        positions="rope",
        image_size=asked.image_size or _whole(config, "crop_size", 256),
        num_frames=asked.num_frames or _whole(config, "frames_per_clip", 64),
        pixels=pixels,
    )
    _agree(config, found.settings["model"]["encoder"])
    return found


def _by_part(tensors: Mapping[str, Tensor]) -> tuple[dict[str, dict[str, Tensor]], dict[str, str]]:
    parts: dict[str, dict[str, Tensor]] = {"encoder": {}, "predictor": {}}
    left_over = {}
    for name, tensor in tensors.items():
        part, _, rest = name.removeprefix("vjepa2.").partition(".")
        if part in parts:
            parts[part][rest] = tensor
        elif name.startswith(_HEADS):
            left_over[name] = "of the classifier, not of the model"
        else:
            raise ForeignError(f"{name} is not a tensor of a VJEPA2 model")
    return parts, left_over


def _agree(config: Mapping[str, Any], encoder: Mapping[str, Any]) -> None:
    """Refuse settings that say something else than the tensors."""
    names = {"hidden_size": "dim", "num_hidden_layers": "depth", "patch_size": "patch_size"}
    for theirs, ours in (names | {"tubelet_size": "tubelet_size"}).items():
        if config.get(theirs, encoder[ours]) != encoder[ours]:
            raise ForeignError(
                f"config.json says {theirs}={config[theirs]!r}, and the tensors say {encoder[ours]}"
            )


def _pixels(path: Path) -> Pixels | None:
    """Return the statistics that the folder's processor normalises with, if it says any."""
    for name in PROCESSORS:
        if (path / name).exists():
            said = read_json((path / name).resolve())
            if not isinstance(said, dict):
                raise ForeignError(f"{path / name} holds no settings")
            return Pixels.read(said, "image_mean", "image_std", str(path / name))
    return None


def _whole(config: Mapping[str, Any], name: str, default: int) -> int:
    value = config.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ForeignError(f"config.json: {name} must be a whole number from 1, got {value!r}")
    return value
