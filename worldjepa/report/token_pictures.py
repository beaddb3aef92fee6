"""Tokens as pictures beside the frames that they stand for: films and sheets of what an encoder sees.

All take clips ``uint8 [b f c y x]`` and something for each token ``[b t p ...]`` of a ``Grid(t, h, w)``. A
latent step is shown with each of its frames.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from worldjepa.components import Components
from worldjepa.types import Grid

SIDE = 128  # height of a frame in a film, in pixels
SMALL = 72  # and on a sheet
NARROW = 400  # clips of a sheet that are less wide stand in pairs
GAP = 4
GAP_COLOUR, GIVEN, LITTLE, MUCH = (128, 128, 128), (205, 205, 205), (244, 243, 238), (160, 24, 40)
ATTENDED = (255, 122, 0)


def token_film(
    frames: UInt8[Tensor, "b f c y x"],
    latents: Float[Tensor, "b t p d"],
    grid: Grid,
    *,
    components: Components | None = None,
    side: int = SIDE,
) -> UInt8[Tensor, "f c rows columns"]:
    """Show each clip beside its tokens' three first principal components as red, green and blue.

    ``components`` left out: those of the clips shown, all together.
    """
    components = components or Components.fit(latents)
    maps = token_maps(components.colours(latents), grid)
    shown = _fitted(frames, side)
    return _films(shown, _per_frame(maps, frames.shape[1]), side)


def paired_film(
    left: UInt8[Tensor, "b f c y x"], right: UInt8[Tensor, "b f c y2 x2"], *, side: int = SIDE
) -> UInt8[Tensor, "f c rows columns"]:
    """Show clips beside others of as many frames."""
    return _films(_fitted(left, side), right, side)


def attention_film(
    frames: UInt8[Tensor, "b f c y x"], weights: Float[Tensor, "b t p"], grid: Grid, *, side: int = SIDE
) -> UInt8[Tensor, "f c rows columns"]:
    """Show each clip beside itself in grey, and in orange the tokens that get more than an equal share.

    The one that gets most of a clip's attention is the strongest.
    """
    excess = (weights - weights.mean(dim=(1, 2), keepdim=True)).clamp_min(0)
    share = excess / excess.amax(dim=(1, 2), keepdim=True).clamp_min(torch.finfo(weights.dtype).tiny)
    heat = _per_frame(token_maps((share[..., None] * 255).to(torch.uint8), grid), frames.shape[1])
    shown = _fitted(frames, side)
    alpha = 0.8 * _enlarged(heat, shown.shape[-2:], "bilinear").float() / 255
    grey = shown.float().mean(dim=2, keepdim=True).expand_as(shown)
    colour = torch.tensor(ATTENDED, dtype=torch.float32).view(3, 1, 1)
    return _films(shown, ((1 - alpha) * grey + alpha * colour).to(torch.uint8), side)


def prediction_sheet(
    frames: UInt8[Tensor, "b f c y x"],
    true: Float[Tensor, "b t p d"],
    predicted: Float[Tensor, "b t p d"],
    hidden: Bool[Tensor, "b t p"],
    grid: Grid,
    *,
    side: int = SMALL,
) -> UInt8[Tensor, "c rows columns"]:
    """Show, for each clip, frames, true tokens, predicted ones, and how far these are off, time to the right.

    Tokens that were given (not ``hidden``) are grey. Colours are the principal components of the true tokens,
    of all clips together; the error is that of ``relative_error``, dark from 1 on.
    """
    components = Components.fit(true)
    given = torch.tensor(GIVEN, dtype=torch.uint8)
    guess = torch.where(hidden[..., None], components.colours(predicted), given)
    off = torch.where(hidden[..., None], error_colours(relative_error(true, predicted)), given)
    first = frames[:, :: max(1, frames.shape[1] // grid.t)][:, : grid.t]
    shown = _fitted(first, side)
    lines = [shown]
    for colours in (components.colours(true), guess, off):
        lines.append(_enlarged(token_maps(colours, grid), shown.shape[-2:], "nearest-exact"))
    clips = torch.stack([_column([_row(line[i]) for line in lines]) for i in range(len(frames))])
    columns = 2 if clips.shape[-1] < NARROW else 1
    return _column([_row(part, 3 * GAP) for part in clips.split(columns)], 3 * GAP)


def relative_error(
    true: Float[Tensor, "b t p d"], predicted: Float[Tensor, "b t p d"]
) -> Float[Tensor, "b t p"]:
    """Return each token's squared error as a share of the true tokens' variance: guessing their mean is 1."""
    spread = (true - true.mean(dim=(0, 1, 2))).square().mean()
    return (predicted - true).square().mean(dim=-1) / spread.clamp_min(torch.finfo(true.dtype).tiny)


def error_colours(errors: Float[Tensor, "*b"]) -> UInt8[Tensor, "*b 3"]:
    """Return a colour for each error, from pale (0) to dark red (1 and more)."""
    low, high = torch.tensor(LITTLE), torch.tensor(MUCH)
    share = errors.clamp(0, 1)[..., None]
    return (low + share * (high - low)).round().to(torch.uint8)


def token_maps(values: UInt8[Tensor, "b t p c"], grid: Grid) -> UInt8[Tensor, "b t c h w"]:
    """Lay tokens out as they lie in the frame."""
    return values.unflatten(2, (grid.h, grid.w)).permute(0, 1, 4, 2, 3)


def _per_frame(maps: UInt8[Tensor, "b t c h w"], frames: int) -> UInt8[Tensor, "b f c h w"]:
    """Repeat the map of each latent step for each of its frames."""
    steps = torch.arange(frames) * maps.shape[1] // frames
    return maps[:, steps]


def _fitted(frames: UInt8[Tensor, "b f c y x"], side: int) -> UInt8[Tensor, "b f c rows columns"]:
    """Bring frames to a height; small ones keep their pixels."""
    y, x = frames.shape[-2:]
    mode = "bilinear" if y > side else "nearest-exact"
    return _enlarged(frames.cpu(), (side, max(1, round(side * x / y))), mode)


def _enlarged(images: UInt8[Tensor, "b f c h w"], size: Sequence[int], mode: str) -> Tensor:
    smooth = {"antialias": True} if mode == "bilinear" else {}
    flat = F.interpolate(images.flatten(0, 1).float(), size=list(size), mode=mode, **smooth)
    return flat.round().clamp(0, 255).to(torch.uint8).unflatten(0, images.shape[:2])


def _films(left: UInt8[Tensor, "b f c y x"], right: Tensor, side: int) -> UInt8[Tensor, "f c rows columns"]:
    """Put each clip's two films side by side, two clips in a line."""
    right = _enlarged(right, left.shape[-2:], "nearest-exact")
    pairs = torch.cat([left, right], dim=-1).movedim(0, 1)  # [f b c y x]
    wide = left.shape[-1] > 2 * side  # pictures as wide as that stand alone
    columns = 1 if wide or pairs.shape[1] == 1 else 2
    return torch.stack([_column([_row(line) for line in moment.split(columns)]) for moment in pairs])


def _row(images: UInt8[Tensor, "n c y x"], gap: int = GAP) -> UInt8[Tensor, "c y columns"]:
    """Put pictures side by side."""
    return _joined(list(images), -1, gap)


def _column(rows: list[Tensor], gap: int = GAP) -> UInt8[Tensor, "c rows columns"]:
    """Put pictures below each other; short ones are filled up."""
    width = max(row.shape[-1] for row in rows)
    return _joined([_padded(row, width) for row in rows], -2, gap)


def _joined(images: list[Tensor], axis: int, gap: int) -> Tensor:
    shape = list(images[0].shape)
    shape[axis] = gap
    line = torch.tensor(GAP_COLOUR, dtype=torch.uint8).view(3, 1, 1).expand(shape)
    parts = [part for image in images for part in (line, image)][1:]
    return torch.cat(parts, dim=axis)


def _padded(row: Tensor, width: int) -> Tensor:
    if row.shape[-1] == width:
        return row
    rest = torch.tensor(GAP_COLOUR, dtype=torch.uint8).view(3, 1, 1)
    return torch.cat([row, rest.expand(3, row.shape[1], width - row.shape[-1])], dim=-1)
