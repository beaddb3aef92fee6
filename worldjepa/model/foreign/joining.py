"""Parts of published models, translated and put together as one of ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from worldjepa.model.foreign.contents import Foreign, ForeignError, Report
from worldjepa.model.foreign.names import Table, to_ours
from worldjepa.model.foreign.pixels import Pixels
from worldjepa.model.foreign.sizes import length_of, tensor_of, transformer_sizes, tubelet_sizes


@dataclass(frozen=True)
class Part:
    """An encoder or a predictor as it was found: tensors by their names within it, and how to read them."""

    tensors: Mapping[str, Tensor]
    table: Table
    num_heads: int


@dataclass(frozen=True)
class Translated:
    """A part in our terms: the settings that build it, its tensors, and what was done to some of them."""

    sizes: dict[str, Any]
    tensors: dict[str, Tensor]
    reshaped: dict[str, str]


def translate(part: Part, where: str) -> Translated:
    """Return a part by our names and in our layout, float32.

    Raises:
        ForeignError: what ``to_ours`` and the reading of sizes refuse, or a tensor that is not of floats.
    """
    for name, tensor in part.tensors.items():
        if not tensor.is_floating_point():
            raise ForeignError(f"{where}.{name} is of {tensor.dtype}; expected floating-point weights")
    tensors, done = to_ours(part.tensors, part.table, num_heads=part.num_heads, where=f"{where}.")
    for name, tensor in tensors.items():
        if tensor.dtype != torch.float32:
            done[name] = f"{done[name]}, " if name in done else ""
            done[name] += f"{str(tensor.dtype).removeprefix('torch.')} to float32"
        tensors[name] = tensor.to(torch.float32).contiguous()
    return Translated(transformer_sizes(tensors, part.num_heads, where), tensors, done)


def translate_encoder(part: Part, pixels: Pixels | None, positions: str, where: str) -> Translated:
    """Return an encoder's part with its tubelet, its positions and its pixel statistics."""
    found = translate(part, where)
    kernel = tensor_of(part.tensors, f"{part.table['embed.proj']}.weight", where)
    found.sizes.update(tubelet_sizes(kernel, where))
    found.sizes["positions"] = positions
    if positions == "rope":
        found.sizes["rope"] = "vjepa2"
    if pixels is not None and not pixels.ours:
        names = ("embed.proj.weight", "embed.proj.bias")
        values = pixels.fold(*(tensor_of(found.tensors, name, where) for name in names))
        for name, value in zip(names, values, strict=True):
            found.tensors[name] = value
            found.reshaped[name] = f"pixel statistics {pixels.mean}, {pixels.std} folded in"
    return found


def join_video_model(
    report: Report,
    *,
    encoder: Part,
    target: Part | None = None,
    predictor: Part | None = None,
    positions: str,
    image_size: int,
    num_frames: int,
    pixels: Pixels | None = None,
) -> Foreign:
    """Put a model of masked prediction together; without a predictor, an encoder that stands alone.

    Args:
        report: what is known of the files so far; format, left over, notes.
        encoder: the context encoder, or the only one there is, which then is the target as well.
        target: its EMA copy.
        predictor: the masked predictor.
        positions: rope or sincos_thirds.
        image_size, num_frames: of the clips trained on.
        pixels: statistics that they were normalised with; None: ImageNet's.
    """
    settings: dict[str, Any] = {
        "data": {"size": image_size, "num_frames": num_frames},
        "model": {"latent_norm": "layer"},
    }
    if predictor is None:
        left_over = dict(report.left_over)
        if target is not None:
            left_over["encoder"] = "the target encoder stands alone; the context encoder serves a predictor"
        alone = translate_encoder(target or encoder, pixels, positions, "encoder")
        settings["model"]["encoder"], settings["objective"] = alone.sizes, {"kind": "none"}
        report = replace(report, left_over=left_over, missing=("masked_predictor",))
        return gather(report, settings, {"encoder": alone})
    context = translate_encoder(encoder, pixels, positions, "encoder")
    if target is None:
        report = replace(report, notes=(*report.notes, "target_encoder: a copy, the files hold one encoder"))
    followed = translate_encoder(target, pixels, positions, "target_encoder") if target else context
    masked = translate(predictor, "predictor")
    masked.sizes["num_mask_tokens"] = length_of(masked.tensors, "mask_tokens", "predictor")
    settings["model"].update(encoder=context.sizes, masked_predictor=masked.sizes)
    settings["objective"] = {"kind": "masked", "loss": "l1"}
    parts = {"encoder": context, "target_encoder": followed, "masked_predictor": masked}
    return gather(report, settings, parts)


def gather(report: Report, settings: dict[str, Any], parts: Mapping[str, Translated]) -> Foreign:
    """Return parts by their names in our model as one, with the report completed."""
    tensors = {f"{part}.{name}": x for part, found in parts.items() for name, x in found.tensors.items()}
    reshaped = {f"{part}.{name}": x for part, found in parts.items() for name, x in found.reshaped.items()}
    return Foreign(settings, tensors, replace(report, loaded=tuple(tensors), reshaped=reshaped))
