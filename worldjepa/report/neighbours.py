"""Nearest neighbours: which other clips an encoder takes for alike."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

SIDE, GAP, LINE, MOST_LETTERS = 88, 6, 16, 14
ALIKE, OTHER, INK = (21, 154, 108), (208, 67, 60), (60, 60, 60)


def nearest(
    latents: Float[Tensor, "n d"], queries: Int[Tensor, " q"], count: int
) -> tuple[Int[Tensor, "q k"], Float[Tensor, "q k"]]:
    """Return the rows most like each query's, itself left out, by the cosine of latents, and that cosine.

    The mean of all rows is taken off first: what all clips share tells none of them apart. There are as many
    as asked for or as there are.
    """
    unit = F.normalize(latents.float() - latents.float().mean(dim=0), dim=1)
    alike = unit[queries] @ unit.T
    alike[torch.arange(len(queries)), queries] = -torch.inf
    values, ids = alike.topk(min(count, len(latents) - 1), dim=1)
    return ids, values


def neighbour_sheet(
    pictures: UInt8[Tensor, "n c y x"],
    queries: Int[Tensor, " q"],
    ids: Int[Tensor, "q k"],
    names: Sequence[str] | None = None,
    side: int = SIDE,
) -> UInt8[Tensor, "c rows columns"]:
    """Draw each query and, after a gap, its neighbours, one query a line.

    ``names`` are those of the pictures' classes: they stand below, and a frame says whether a neighbour's is
    the query's (green) or another (red).
    """
    high = side + (LINE if names else 0) + 2 * GAP
    width = (ids.shape[1] + 1) * (side + 2 * GAP) + 3 * GAP
    sheet = Image.new("RGB", (width, len(queries) * high + GAP), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=11)
    for line, (query, others) in enumerate(zip(queries.tolist(), ids.tolist(), strict=True)):
        top = GAP + line * high
        for place, row in enumerate([query, *others]):
            left = GAP + place * (side + 2 * GAP) + (3 * GAP if place else 0)
            sheet.paste(_tile(pictures[row], side), (left, top))
            if names is None:
                continue
            if place:
                colour = ALIKE if names[row] == names[query] else OTHER
                draw.rectangle((left - 2, top - 2, left + side + 1, top + side + 1), outline=colour, width=2)
            text = str(names[row])
            text = text if len(text) <= MOST_LETTERS else f"{text[: MOST_LETTERS - 2]}.."
            draw.text((left, top + side + 2), text, fill=INK, font=font)
    data = torch.frombuffer(bytearray(sheet.tobytes()), dtype=torch.uint8)
    return data.reshape(sheet.height, sheet.width, 3).permute(2, 0, 1).contiguous()


def _tile(picture: UInt8[Tensor, "c y x"], side: int) -> Image.Image:
    """Return the middle square of a picture."""
    y, x = picture.shape[-2:]
    edge = min(y, x)
    cut = picture[:, (y - edge) // 2 : (y + edge) // 2, (x - edge) // 2 : (x + edge) // 2]
    return Image.fromarray(cut.permute(1, 2, 0).contiguous().cpu().numpy()).resize((side, side))
