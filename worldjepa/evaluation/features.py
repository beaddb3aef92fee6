"""An encoder's features as maps, at the scales that detectors and segmenters build on."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from worldjepa.evaluation.latents import patch_encoder
from worldjepa.model.encoder import VideoEncoder
from worldjepa.model.frames import as_unit_range, normalise_pixels
from worldjepa.model.frozen import FrozenEncoder
from worldjepa.model.world_model import WorldModel
from worldjepa.types import Grid


def features(
    model: WorldModel,
    frames: Shaped[Tensor, "b f c y x"],
    layers: Sequence[int] | None = None,
    scales: Sequence[int] = (4, 8, 16, 32),
) -> dict[str, Float[Tensor, "b t _ _ _"]]:
    """Return maps ``[b t c y x]`` of an encoder's tokens, at several scales; gradients flow through.

    The encoder is the one that ``encode`` uses. Unlike there, frames keep their size: the maps belong to it.
    A plain ViT has one scale; the others are that one enlarged bilinearly or averaged (the pyramid of ViTDet,
    arXiv:2203.16527, section 3, without its learned layers).

    Args:
        model: any model of ours.
        frames: uint8 or float in [0, 1]; height and width are multiples of the patch size.
        layers: blocks whose output is taken, from 0, negative ones from the end; their channels stand one
            after the other (left out: the last). Each passes through the encoder's final norm.
        scales: pixels from one place of a map to the next.

    Returns:
        ``{"0": map of the first scale, "1": ...}``, the names that torchvision's detectors look for, with
        c = number of layers x encoder width.

    Raises:
        ValueError: a layer that there is not, a scale below 1, or frames that do not fill whole tubelets.
    """
    encoder = patch_encoder(model)
    if isinstance(encoder, FrozenEncoder):  # its own methods keep gradients away
        encoder = encoder.backbone
    x = normalise_pixels(as_unit_range(frames).to(model.device, next(model.parameters()).dtype))
    grid = model.encoder.grid(x)
    tokens = encoder.tokens(x) if layers is None else torch.cat(_layers(encoder, x, grid, layers), dim=-1)
    maps = rearrange(tokens, "b t (h w) d -> (b t) d h w", h=grid.h)
    found = {}
    for index, scale in enumerate(scales):
        if scale < 1:
            raise ValueError(f"scales={list(scales)}: expected pixels from one place to the next, 1 or more")
        size = (max(1, x.shape[-2] // scale), max(1, x.shape[-1] // scale))
        found[str(index)] = _resized(maps, size).unflatten(0, (len(x), grid.t))
    return found


def _resized(maps: Float[Tensor, "n d h w"], size: tuple[int, int]) -> Float[Tensor, "n d rows columns"]:
    if size[0] <= maps.shape[-2] and size[1] <= maps.shape[-1]:
        return F.adaptive_avg_pool2d(maps, size)
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)


def _layers(encoder: object, x: Tensor, grid: Grid, layers: Sequence[int]) -> list[Float[Tensor, "b t p d"]]:
    """Return the output of each layer, normalised as the last one is."""
    if not isinstance(encoder, VideoEncoder):
        raise ValueError(
            "layers of a backbone from elsewhere cannot be chosen; leave layers out for its last"
        )
    depth = len(encoder.blocks)
    wrong = [layer for layer in layers if not -depth <= layer < depth]
    if wrong or not layers:
        raise ValueError(f"layers={list(layers)}: the encoder has layers 0 to {depth - 1}, or -{depth} to -1")
    outputs: dict[int, Tensor] = {}
    numbers = {layer % depth for layer in layers}

    def keep(number: int) -> Callable[[nn.Module, object, tuple[Tensor, object]], None]:
        return lambda _, __, out: outputs.update({number: out[0]})

    hooks = [encoder.blocks[n].register_forward_hook(keep(n)) for n in numbers]
    try:
        encoder.tokens(x)
    finally:
        for hook in hooks:
            hook.remove()
    return [encoder.norm(_in_order(encoder, layer % depth, outputs[layer % depth], grid)) for layer in layers]


def _in_order(encoder: VideoEncoder, layer: int, out: Tensor, grid: Grid) -> Float[Tensor, "b t p d"]:
    """Return a block's output as tokens: ``step`` and ``factorised`` attention run rows of their own."""
    within_step = encoder.attention == "step" or (
        encoder.attention == "factorised" and layer < len(encoder.blocks) // 2
    )
    if within_step:
        return rearrange(out, "(b t) p d -> b t p d", t=grid.t)
    if encoder.attention == "factorised":
        return rearrange(out, "(b p) t d -> b t p d", p=grid.p)
    return rearrange(out, "b (t p) d -> b t p d", t=grid.t)
