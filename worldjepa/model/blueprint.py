"""A model as data and back: which parts it has, and the arguments that each was built with.

What a published model is described by (``config.json``). Parts are named by the kinds listed here and built
with plain keyword arguments, so nothing in a description is ever imported or called by name. Every argument
is read off the part itself: a model from a run, from foreign weights or built by hand is described alike.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from worldjepa.model.action_predictor import ActionPredictor
from worldjepa.model.action_stats import ActionStats
from worldjepa.model.encoder import VideoEncoder
from worldjepa.model.frozen import FrozenEncoder, TimmBackbone
from worldjepa.model.heads import PixelHead, ScalarHead, VectorHead
from worldjepa.model.layers.block import Block
from worldjepa.model.predictor import MaskedPredictor
from worldjepa.model.projector import BatchNorm, Projector

PARTS: dict[str, type[nn.Module]] = {
    "video_encoder": VideoEncoder,
    "frozen_encoder": FrozenEncoder,
    "timm": TimmBackbone,
    "projector": Projector,
    "masked_predictor": MaskedPredictor,
    "action_predictor": ActionPredictor,
    "action_stats": ActionStats,
    "scalar": ScalarHead,
    "vector": VectorHead,
    "pixels": PixelHead,
}

KIND = "kind"
# what a part's file of weights cannot bound: work that is done, and memory taken, before they are compared
MOST = {"depth": 1024, "image_size": 8192, "tubelet_size": 1024, "grid": 4096}
MOST_OTHER = 1 << 20
MOST_PARTS = 64  # of heads
MAY_BE_NONE_AT_ALL = ("depth", "proprioception_dim")  # whole numbers from 0; all others begin at 1


class BlueprintError(ValueError):
    """A model that cannot be described, or a description that no model can be built from."""


# --- a model to data -----------------------------------------------------------------------------


def describe(value: Any) -> Any:
    """Return a part of a model as data, or a plain value as it is.

    Raises:
        BlueprintError: a part of another kind than ``PARTS`` lists, or with other arguments than can be read
            off it.
    """
    if isinstance(value, nn.ModuleDict):
        return {name: describe(part) for name, part in value.items()}
    if isinstance(value, tuple):
        return [describe(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    kind = next((name for name, cls in PARTS.items() if type(value) is cls), None)
    if kind is None:
        raise BlueprintError(
            f"a {type(value).__name__} cannot be described as data, and so not be published; only models of "
            f"{', '.join(cls.__name__ for cls in PARTS.values())} can"
        )
    return {KIND: kind, **describe_arguments(value)}


def describe_arguments(part: nn.Module) -> dict[str, Any]:
    """Return the arguments of a part's constructor as data, read off the part."""
    readers = _READERS.get(type(part), {})
    read = {
        name: readers.get(name, lambda part, name=name: getattr(part, name)) for name in _types(type(part))
    }
    return {name: describe(reader(part)) for name, reader in read.items()}


def _mlp_ratio(part: Any) -> float:
    if not part.blocks:
        return 4.0
    block = part.blocks[0]
    assert isinstance(block, Block)
    hidden, dim = block.mlp.fc1.out_features, block.mlp.fc1.in_features
    ratio = hidden / dim
    return ratio if int(dim * ratio) == hidden else math.nextafter(ratio, math.inf)


def _pooled_width(part: Any) -> int:
    return part.fc1.in_features // (part.num_tokens if part.pool == "flatten" else 1)


_TRANSFORMER: dict[str, Callable[[Any], Any]] = {
    "depth": lambda part: len(part.blocks),
    "num_heads": lambda part: part.dim // part.head_dim,
    "mlp_ratio": _mlp_ratio,
}
_READOUT: dict[str, Callable[[Any], Any]] = {
    "latent_dim": lambda part: part.read.narrow.in_features,
    "num_tokens": lambda part: part.read.fc.in_features // part.read.narrow.out_features,
    "hidden_dim": lambda part: part.read.fc.out_features,
    "out_dim": lambda part: part.read.out.out_features,
}
# arguments that are not kept under their own name
_READERS: dict[type[nn.Module], dict[str, Callable[[Any], Any]]] = {
    VideoEncoder: _TRANSFORMER
    | {
        "patch_size": lambda part: part.embed.patch_size,
        "tubelet_size": lambda part: part.embed.tubelet_size,
        "channels": lambda part: part.embed.channels,
    },
    MaskedPredictor: _TRANSFORMER
    | {
        "latent_dim": lambda part: part.embed.in_features,
        "num_mask_tokens": lambda part: len(part.mask_tokens),
    },
    ActionPredictor: _TRANSFORMER
    | {
        "dim": lambda part: part.embed.out_features,
        "num_heads": lambda part: part.embed.out_features // part.head_dim,
        "grid": lambda part: (part.grid.h, part.grid.w),
    },
    Projector: {
        "dim": _pooled_width,
        "hidden_dim": lambda part: part.fc1.out_features,
        "norm": lambda part: "batch" if isinstance(part.norm, BatchNorm) else "none",
    },
    TimmBackbone: {"pretrained": lambda part: False},
    ScalarHead: _READOUT,
    VectorHead: _READOUT,
    PixelHead: {
        "latent_dim": lambda part: part.embed.in_features,
        "image_size": lambda part: part.grid[0] * part.square[0],
        "hidden_dim": lambda part: part.fc.out_features,
    },
}


# --- data to a model -----------------------------------------------------------------------------


def build(data: Any, where: str) -> nn.Module:
    """Return a fresh part from its description, at ``where`` in the file.

    Raises:
        BlueprintError: a kind or argument that there is not, or a value that does not fit.
    """
    kind = data.get(KIND) if isinstance(data, Mapping) else None
    if not isinstance(kind, str) or kind not in PARTS:
        raise BlueprintError(
            f"{where}: expected a part with a kind of {', '.join(PARTS)}, got {_shown(data)}"
        )
    cls = PARTS[kind]
    arguments = read_arguments(cls, {k: v for k, v in data.items() if k != KIND}, where)
    if cls is TimmBackbone and arguments.get("pretrained") is not False:
        raise BlueprintError(f"{where}.pretrained: the weights are in the file; expected false")
    try:
        return cls(**arguments)
    except (
        ValueError,
        TypeError,
        ArithmeticError,
        RuntimeError,
    ) as error:  # torch refuses sizes in many ways
        raise BlueprintError(f"{where}: no {kind} can be built so: {error}") from error


def read_arguments(cls: type[nn.Module], data: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the keyword arguments of a constructor from their description.

    Raises:
        BlueprintError: a name that is not one of them, one that is left out, or a value of another type.
    """
    types = _types(cls)
    for name in data:
        if name not in types:
            raise BlueprintError(
                f"{where}.{name}: there is no such argument; {cls.__name__} has {', '.join(types)}"
            )
    for name in types:
        if name not in data:
            raise BlueprintError(f"{where}.{name} is not there")
    return {name: _read(data[name], types[name], f"{where}.{name}") for name in types}


def _read(value: Any, declared: str, where: str) -> Any:
    """Return a described value as what a constructor declares: a number, a word, a size, a part, parts."""
    allowed = {word.strip() for word in declared.split("|")}
    if value is None and "None" in allowed:
        return None
    if isinstance(value, Mapping):
        if declared.startswith("Mapping"):
            return _read_parts(value, where)
        part = build(value, where)
        if type(part).__name__ in allowed:
            return part
    elif isinstance(value, bool | str):
        if type(value).__name__ in allowed:
            return value
    elif isinstance(value, list) and declared == "tuple[int, int]" and len(value) == 2:
        return tuple(_read_int(item, where) for item in value)
    elif isinstance(value, int) and "int" in allowed:
        return _read_int(value, where)
    elif isinstance(value, int | float) and "float" in allowed and 0 < value <= MOST_OTHER:
        return float(value)
    raise BlueprintError(f"{where}: expected {declared}, got {_shown(value)}")


def _read_parts(data: Mapping[str, Any], where: str) -> dict[str, nn.Module]:
    odd = [name for name in data if not name.isidentifier() or hasattr(nn.ModuleDict, name)]
    if odd or len(data) > MOST_PARTS:
        raise BlueprintError(f"{where}: up to {MOST_PARTS} parts with plain names, got {_shown(data)}")
    return {name: build(part, f"{where}.{name}") for name, part in data.items()}


def _read_int(value: Any, where: str) -> int:
    name = where.rpartition(".")[2]
    least, most = int(name not in MAY_BE_NONE_AT_ALL), MOST.get(name, MOST_OTHER)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise BlueprintError(f"{where}: expected a whole number from {least} to {most}, got {_shown(value)}")
    return value


def _types(cls: type[nn.Module]) -> dict[str, str]:
    """Return what a constructor declares of each keyword, as it is written there."""
    parameters = inspect.signature(cls.__init__).parameters.values()
    return {one.name: str(one.annotation).strip('"') for one in parameters if one.name != "self"}


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 100 else text[:100] + "..."
