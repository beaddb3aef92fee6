"""A learning curve as a picture: returns over environment steps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import UInt8
from PIL import Image, ImageDraw
from torch import Tensor

Points = Sequence[tuple[float, float]]  # (environment steps, return)

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 640, 400, 70, 150, 24, 40
COLOURS = ((32, 98, 176), (214, 96, 32), (120, 120, 120), (46, 139, 87))
TICKS = 4


def curve_picture(curves: Mapping[str, Points], *, title: str) -> UInt8[Tensor, "c y x"]:
    """Draw named curves in one frame; one of a single point becomes a level line."""
    points = [point for line in curves.values() for point in line]
    right = max(x for x, _ in points) or 1.0
    low, high = min(y for _, y in points), max(y for _, y in points)
    low, high = _round_ends(low, high)

    def place(x: float, y: float) -> tuple[float, float]:
        across, up = x / right, (y - low) / (high - low)
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)

    image = Image.new("RGB", (WIDTH, HEIGHT), "white")
    draw = ImageDraw.Draw(image)
    draw.text((LEFT, 6), title, fill="black")
    draw.text((WIDTH - RIGHT - 110, HEIGHT - 16), "environment steps", fill="black")
    for tick in range(TICKS + 1):
        x, y = right * tick / TICKS, low + (high - low) * tick / TICKS
        draw.line([place(0, y), place(right, y)], fill=(230, 230, 230))
        draw.text((6, place(0, y)[1] - 6), f"{y:.4g}", fill="black")
        draw.text((place(x, low)[0] - 10, HEIGHT - BOTTOM + 6), f"{x:.0f}", fill="black")
    for index, (name, line) in enumerate(curves.items()):
        colour = COLOURS[index % len(COLOURS)]
        shown = [(0.0, line[0][1]), (right, line[0][1])] if len(line) == 1 else line
        draw.line([place(*point) for point in shown], fill=colour, width=2)
        draw.text((WIDTH - RIGHT + 10, TOP + 16 * index), name, fill=colour)
    data = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
    return data.reshape(HEIGHT, WIDTH, 3).permute(2, 0, 1).contiguous()


def _round_ends(low: float, high: float) -> tuple[float, float]:
    """Widen an interval so that its ends and the ticks between them are short numbers."""
    rough = (high - low) / TICKS or 0.5
    unit = 10 ** math.floor(math.log10(rough))
    for step in (1 * unit, 2 * unit, 2.5 * unit, 5 * unit, 10 * unit, 20 * unit, 25 * unit):
        start = math.floor(low / step) * step
        if start + TICKS * step >= high:
            return start, start + TICKS * step
    raise AssertionError("a step of 25 units spans every interval of up to 40 units")
