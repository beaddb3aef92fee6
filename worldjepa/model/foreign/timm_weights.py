"""Backbones of timm (DINOv2, DINOv3, CLIP, MAE, ...): by name, from a checkpoint file, or a hub folder.

timm itself knows how the authors' files map onto its models and how position tables are resampled
(``checkpoint_filter_fn`` beside each architecture); what that leaves is compared by name and shape here,
because timm loads a backbone without its classifier in silence where names do not agree.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from worldjepa.model.foreign.contents import Foreign, ForeignError, Report
from worldjepa.model.foreign.files import SINGLE, read_safetensors, read_torch_file
from worldjepa.model.foreign.pixels import Pixels
from worldjepa.model.frozen import TimmBackbone, timm_settings
from worldjepa.settings.convert import ConvertConfig
from worldjepa.tensorfile import read_tensors

PREFIX, NET = "encoder.backbone.", "net."
_EMA_FIRST = ("state_dict_ema", "model_ema", "state_dict", "model")


def read_timm_name(name: str, asked: ConvertConfig) -> Foreign:
    """Fetch the weights that timm's registry names, such as ``vit_small_patch14_dinov2.lvd142m``.

    Raises:
        ForeignError: timm does not know it.
    """
    size = asked.image_size or _registered_size(name)
    backbone = _backbone(name, size, pretrained=True)
    report = Report(f"timm {name} (its registry's weights)")
    return _joined(name, size, dict(backbone.state_dict()), report, {})


def read_timm_file(path: Path, name: str, asked: ConvertConfig) -> Foreign:
    """Read a checkpoint file (``.pt``, ``.pth``, ``.safetensors``) of the timm model ``name``.

    Raises:
        ForeignError: tensors that such a model does not have, or has and the file lacks.
    """
    if path.suffix == ".safetensors":
        tensors = read_tensors(path)
    else:
        tensors = _state(read_torch_file(path), path)
    return _read(path, name, tensors, asked, None)


def read_timm_folder(path: Path, config: Mapping[str, Any], asked: ConvertConfig) -> Foreign:
    """Read a folder as timm saves it for the hub: ``config.json`` names architecture, tag and statistics.

    Raises:
        ForeignError: as ``read_timm_file``.
    """
    said = config.get("pretrained_cfg") or {}
    if not isinstance(said, Mapping):
        raise ForeignError(f"{path}: pretrained_cfg is not a mapping")
    tag = f".{said['tag']}" if said.get("tag") else ""
    name = asked.timm or f"{config['architecture']}{tag}"
    if not asked.timm and not _known(name):
        name = str(config["architecture"])  # a tag of its own
    tensors = read_tensors(path / SINGLE) if (path / SINGLE).exists() else read_safetensors(path)
    pixels = Pixels.read(said, "mean", "std", str(path / "config.json"))
    return _read(path, name, tensors, asked, pixels)


def fit_timm(net: nn.Module, tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return tensors by the names of ``net``, position tables resampled to its, and what was reshaped."""
    adapt = getattr(sys.modules[type(net).__module__], "checkpoint_filter_fn", None)
    try:
        found = dict(tensors) if adapt is None else dict(adapt(dict(tensors), net))
    except (KeyError, RuntimeError, ValueError, AttributeError, TypeError, IndexError) as error:
        raise ForeignError(
            f"timm cannot map these weights onto {type(net).__name__}: {type(error).__name__}: {error}"
        ) from error
    reshaped = {
        name: f"{tuple(tensors[name].shape)} to {tuple(tensor.shape)}"
        for name, tensor in found.items()
        if name in tensors and tensors[name].shape != tensor.shape
    }
    return found, reshaped


def resample_timm(backbone: TimmBackbone, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a backbone's weights for the image size of ``backbone``, by its names."""
    net = {name.removeprefix(NET): x for name, x in weights.items() if name.startswith(NET)}
    others = {name: x for name, x in weights.items() if not name.startswith(NET)}
    return others | {f"{NET}{name}": x for name, x in fit_timm(backbone.net, net)[0].items()}


def _read(
    path: Path, name: str, tensors: Mapping[str, Tensor], asked: ConvertConfig, pixels: Pixels | None
) -> Foreign:
    size = asked.image_size or _registered_size(name)
    with torch.device("meta"):  # only names and shapes: what the file lacks is never allocated
        backbone = _backbone(name, size, pretrained=False)
    found, reshaped = fit_timm(backbone.net, tensors)
    own, used = backbone.net.state_dict(), {tensor.data_ptr() for tensor in found.values()}
    left_over = {
        key: "timm takes it over in no place, or joined with others"
        for key, tensor in tensors.items()
        if key not in found and tensor.data_ptr() not in used
    }
    heads = [key for key in found if key not in own and key.startswith(_heads(name))]
    left_over |= dict.fromkeys(heads, "of the classifier, not of the backbone")
    found = {f"{NET}{key}": tensor for key, tensor in found.items() if key not in heads}
    mean, std = (pixels.mean, pixels.std) if pixels else _registered_pixels(name)
    found["pixel_mean"], found["pixel_std"] = torch.tensor(mean), torch.tensor(std)
    reshaped = {f"{NET}{key}": what for key, what in reshaped.items()}
    return _joined(name, size, found, Report(f"timm {name} ({path.name})", left_over=left_over), reshaped)


def _joined(
    name: str, size: int, tensors: Mapping[str, Tensor], report: Report, reshaped: Mapping[str, str]
) -> Foreign:
    ours = {f"{PREFIX}{key}": _plain(tensor) for key, tensor in tensors.items()}
    settings = {
        "data": {"size": size},
        "model": {
            "latent_norm": "layer",
            "encoder": {"timm": name, "frames_per_step": 1, "attention": "step"},
        },
        "objective": {"kind": "none"},
    }
    done = {f"{PREFIX}{key}": what for key, what in reshaped.items()}
    mean, std = (tuple(round(float(x), 6) for x in tensors[key]) for key in ("pixel_mean", "pixel_std"))
    notes = (f"pixels are normalised by mean {mean} and std {std}", f"frames of {size} px (image_size=)")
    told = Report(report.format, tuple(ours), done, left_over=report.left_over, notes=notes)
    return Foreign(settings, ours, told)


def _plain(tensor: Tensor) -> Tensor:
    return (tensor.float() if tensor.is_floating_point() else tensor).contiguous()


def _backbone(name: str, size: int, *, pretrained: bool) -> TimmBackbone:
    return TimmBackbone(name, image_size=size, pretrained=pretrained)


def _state(content: Mapping[str, Any], path: Path) -> dict[str, Tensor]:
    """Return the state dict in a checkpoint: the EMA's where there is one, as timm does."""
    from timm.models import clean_state_dict

    key = next((key for key in _EMA_FIRST if content.get(key) is not None), None)
    found = content if key is None else content[key]
    if not isinstance(found, Mapping) or not found or not all(isinstance(x, Tensor) for x in found.values()):
        raise ForeignError(f"{path}: expected a state dict, or one under {', '.join(_EMA_FIRST)}")
    return clean_state_dict({str(name): tensor for name, tensor in found.items()})


def _known(name: str) -> bool:
    return bool(re.fullmatch(r"\w+(\.\w+)?", name)) and timm_settings(name) is not None


def _registered_size(name: str) -> int:
    settings = timm_settings(name)
    return 224 if settings is None else settings.input_size[-1]


def _registered_pixels(name: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    settings = timm_settings(name)
    if settings is None:
        raise ForeignError(f"timm has no model {name}")
    return settings.mean, settings.std


def _heads(name: str) -> tuple[str, ...]:
    settings = timm_settings(name)
    heads = getattr(settings, "classifier", None) or ()
    return tuple(f"{head}." for head in ((heads,) if isinstance(heads, str) else heads))
