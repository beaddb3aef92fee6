"""Pictures of what a model is shown and what it makes of it: masks, and latents as colours."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw
from torch import Tensor

from worldjepa.components import Components
from worldjepa.types import Grid, Masks

SEEN, HIDDEN, UNUSED = (86, 160, 211), (236, 130, 74), (222, 222, 222)
CELL, GAP, MARGIN, TITLE = 10, 8, 12, 18
LEGEND = (("context", SEEN), ("target", HIDDEN), ("neither", UNUSED))


def mask_picture(masks: dict[str, Masks], grid: Grid, rows: int = 2) -> UInt8[Tensor, "c y x"]:
    """Draw, for each named setting, which tokens are context, target or neither in the first ``rows`` rows.

    A line a row of the batch; from left to right the latent steps.
    """
    cell = max(2, min(CELL, 160 // max(grid.h, grid.w)))
    step_w, step_h = grid.w * cell, grid.h * cell
    band = TITLE + rows * (step_h + GAP)
    width = max(2 * MARGIN + grid.t * (step_w + GAP), 360)
    image = Image.new("RGB", (width, MARGIN + len(masks) * band + TITLE + MARGIN), "white")
    draw = ImageDraw.Draw(image)
    for index, (name, mask) in enumerate(masks.items()):
        top = MARGIN + index * band
        share = f"context {mask.context.shape[1] / grid.n:.0%}, target {mask.target.shape[1] / grid.n:.0%}"
        draw.text((MARGIN, top), f"{name}: {share}", fill="black")
        for row in range(min(rows, len(mask.context))):
            colours = [UNUSED] * grid.n
            for ids, colour in ((mask.context[row], SEEN), (mask.target[row], HIDDEN)):
                for token in ids.tolist():
                    colours[token] = colour
            for token, colour in enumerate(colours):
                t, place = divmod(token, grid.p)
                x = MARGIN + t * (step_w + GAP) + place % grid.w * cell
                y = top + TITLE + row * (step_h + GAP) + place // grid.w * cell
                draw.rectangle((x, y, x + cell - 2, y + cell - 2), fill=colour)
    x = MARGIN
    for name, colour in LEGEND:
        bottom = image.height - MARGIN - 10
        draw.rectangle((x, bottom, x + 9, bottom + 9), fill=colour)
        draw.text((x + 14, bottom - 1), name, fill="black")
        x += 90
    return _tensor(image)


def latent_picture(
    frames: UInt8[Tensor, "b f c y x"], latents: Float[Tensor, "b t p d"], grid: Grid, zoom: int = 1
) -> UInt8[Tensor, "c rows columns"]:
    """Draw clips above their latents, whose three first principal components become red, green and blue.

    A latent step is shown under the first of its frames. The components are those of all clips together.
    """
    b, f = frames.shape[:2]
    colours = Components.fit(latents).colours(latents)
    maps = colours.reshape(b * grid.t, grid.h, grid.w, -1).permute(0, 3, 1, 2)
    maps = F.interpolate(maps, size=frames.shape[-2:], mode="nearest")
    maps = maps.reshape(b, grid.t, -1, *frames.shape[-2:])
    shown = frames.cpu()[:, :: max(1, f // grid.t)][:, : grid.t]
    lines = [torch.cat([*row], dim=-1) for pair in zip(shown, maps, strict=True) for row in pair]
    picture = torch.cat(lines, dim=-2)
    return picture.repeat_interleave(zoom, dim=-1).repeat_interleave(zoom, dim=-2)


def film_strips(
    real: UInt8[Tensor, "b t c y x"], imagined: UInt8[Tensor, "b t c y x"]
) -> UInt8[Tensor, "c rows columns"]:
    """Draw, for each window, its frames and below them what the model imagined, time from left to right."""
    side = max(96, real.shape[-1])
    height = round(side * real.shape[-2] / real.shape[-1])
    _, t = real.shape[:2]
    band = TITLE + 2 * (height + 2) + GAP
    image = Image.new("RGB", (2 * MARGIN + t * (side + 2), 2 * MARGIN + len(real) * band), "white")
    draw = ImageDraw.Draw(image)
    for index, pair in enumerate(zip(real.cpu(), imagined.cpu(), strict=True)):
        top = MARGIN + index * band
        draw.text((MARGIN, top), "real, and imagined from the first frame and the actions", fill="black")
        for row, frames in enumerate(pair):
            for column, frame in enumerate(frames):
                tile = Image.fromarray(frame.permute(1, 2, 0).contiguous().numpy()).resize((side, height))
                image.paste(tile, (MARGIN + column * (side + 2), top + TITLE + row * (height + 2)))
    return _tensor(image)


def save_png(picture: UInt8[Tensor, "c y x"], path: str) -> None:
    """Write a picture to a PNG file."""
    Image.fromarray(picture.permute(1, 2, 0).contiguous().numpy()).save(path)


def _tensor(image: Image.Image) -> UInt8[Tensor, "c y x"]:
    data = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
    return data.reshape(image.height, image.width, 3).permute(2, 0, 1).contiguous()
