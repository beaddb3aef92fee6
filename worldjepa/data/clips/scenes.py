"""One video of the built-in corpus: what is drawn in it, and the truth of it. See ``corpus.py``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

MOTIONS = ("slide_left", "slide_right", "slide_up", "slide_down", "grow", "shrink", "still", "jitter")
DIRECTIONS = {  # x, y; y points down
    "slide_left": (-1, 0),
    "slide_right": (1, 0),
    "slide_up": (0, -1),
    "slide_down": (0, 1),
}
SHAPES = ("disc", "square", "triangle", "ring", "cross", "crescent")
SPECKS = 3
MOVERS = 3


@dataclass(frozen=True)
class CorpusSettings:
    """What is rendered. ``size`` in pixels (even, a multiple of 8), ``shimmer`` as a share of full white."""

    train_videos: int = 1600
    val_videos: int = 400
    frames: int = 18
    fps: int = 12
    size: int = 80
    shimmer: float = 0.06
    seed: int = 0


class Truth(NamedTuple):
    """What is really in a video: ``f`` frames, ``o`` shapes, later ones in front of earlier ones.

    ``boxes`` are x0, y0, x1, y1 in pixels (ends outside) around the whole shape, hidden or not.
    ``centres`` are x, y in pixels, ``masks`` the visible pixels.
    """

    motion: str
    boxes: np.ndarray  # float32 [f o 4]
    centres: np.ndarray  # float32 [f o 2]
    masks: np.ndarray  # bool [f o y x]


class Track(NamedTuple):
    """Where one shape is: centre (x, y) and radius as shares of the side, angle in radians, by frame."""

    centre: np.ndarray  # [f 2]
    radius: np.ndarray  # [f]
    angle: np.ndarray  # [f]


def render(motion: str, settings: CorpusSettings, rng: np.random.Generator) -> tuple[np.ndarray, Truth]:
    """Return one video, uint8 [f y x c], and its truth, drawn from ``rng``."""
    f, side = settings.frames, settings.size
    ground = rng.uniform(0.35, 0.65, 3)
    planes = _texture(ground, side, rng)[:, None] + _shimmer(settings, rng)  # [c f y x]: quicker than c last
    tracks = [move(motion, f, rng) for _ in range(MOVERS)]
    covers = np.stack([_cover(str(rng.choice(SHAPES)), track, side) for track in tracks], axis=1)
    for mover in range(MOVERS):  # later ones in front
        _paint(planes, covers[:, mover], _contrast(ground, rng))
    for _ in range(SPECKS):
        _paint(planes, _cover("disc", _speck(f, rng), side), _contrast(ground, rng))
    frames = np.empty((f, side, side, 3), np.uint8)
    frames[:] = np.moveaxis(np.clip(planes, 0, 1) * 255 + 0.5, 0, -1)
    centres = np.stack([track.centre * side for track in tracks], axis=1)
    return frames, _truth(motion, covers > 0.5, centres.astype(np.float32))


def _truth(motion: str, solid: np.ndarray, centres: np.ndarray) -> Truth:
    """Return the truth of shapes ``solid``, bool [f o y x], of which later ones hide earlier ones."""
    visible = solid.copy()
    for front in range(1, solid.shape[1]):
        visible[:, :front] &= ~solid[:, front : front + 1]
    seen = np.stack([solid.any(axis=2), solid.any(axis=3)], axis=-1)  # [f o side 2]: by column, by row
    first, end = seen.argmax(axis=2), solid.shape[-1] - seen[:, :, ::-1].argmax(axis=2)
    present = np.any(solid, axis=(2, 3), keepdims=True)[..., 0]  # a shape may have left the picture
    boxes = (np.concatenate([first, end], axis=-1) * present).astype(np.float32)
    return Truth(motion, boxes, centres, visible)


def move(motion: str, frames: int, rng: np.random.Generator) -> Track:
    """Return the track of a shape that makes ``motion``; it may leave the picture.

    Size, angle, spin and the place at mid-time are drawn alike for all motions, so that a single frame, or
    the pixels one by one, tell next to nothing. ``jitter`` jumps to a new place near by in every frame.
    """
    u = np.linspace(-0.5, 0.5, frames)
    size, length = rng.uniform(0.11, 0.17), rng.uniform(0.36, 0.48)
    angle = rng.uniform(0, 2 * np.pi) + 2 * np.pi * rng.uniform(-0.2, 0.2) * u
    if motion == "jitter":
        offset = rng.normal(0, 0.05, (frames, 2))
    else:
        offset = (length * u)[:, None] * np.array(DIRECTIONS.get(motion, (0, 0)))
    growth = 2.6 * length * u * {"grow": 1, "shrink": -1}.get(motion, 0)
    return Track(rng.uniform(0.2, 0.8, 2) + offset, size * np.exp(growth), angle)


def _speck(frames: int, rng: np.random.Generator) -> Track:
    """Return the track of a small disc on a random walk, reflected at the borders: not to be predicted."""
    path = rng.uniform(0, 1, 2) + np.cumsum(rng.normal(0, 0.04, (frames, 2)), axis=0)
    return Track(1 - np.abs(1 - np.abs(path) % 2), np.full(frames, 0.022), np.zeros(frames))


def _cover(shape: str, track: Track, side: int) -> np.ndarray:
    """Return what share of each pixel a shape covers, float32 [f y x], from its signed distance."""
    grid = (np.arange(side, dtype=np.float32) + 0.5) / side
    scale = track.radius.astype(np.float32)[:, None, None]
    x = (grid[None, None, :] - track.centre[:, 0, None, None].astype(np.float32)) / scale
    y = (grid[None, :, None] - track.centre[:, 1, None, None].astype(np.float32)) / scale
    cos, sin = (function(track.angle).astype(np.float32)[:, None, None] for function in (np.cos, np.sin))
    distance = _distance(shape, cos * x + sin * y, cos * y - sin * x)
    return np.clip(0.5 - distance * (scale * side), 0, 1)


def _distance(shape: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the (approximate) signed distance to a shape of radius 1, negative inside."""
    if shape == "square":
        return np.maximum(np.abs(x), np.abs(y)) - 0.85
    if shape == "triangle":
        return np.maximum(np.abs(x) * 0.866 - y * 0.5, y) - 0.55
    if shape == "cross":
        long, short = np.maximum(np.abs(x), np.abs(y)), np.minimum(np.abs(x), np.abs(y))
        return np.maximum(long - 1, short - 0.36)
    away = np.sqrt(x * x + y * y)
    if shape == "ring":
        return np.abs(away - 0.72) - 0.28
    if shape == "crescent":
        return np.maximum(away - 1, 0.7 - np.sqrt((x - 0.55) ** 2 + y * y))
    return away - 1  # disc


def _paint(planes: np.ndarray, cover: np.ndarray, colour: np.ndarray) -> None:
    """Lay ``colour`` [c] over ``planes`` [c f y x] in place, as much as ``cover`` [f y x] says."""
    for plane, value in zip(planes, colour, strict=True):
        plane += cover * (value - plane)


def _contrast(ground: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a colour clearly lighter or darker than ``ground``, either as often as the other overall."""
    while True:
        colour = rng.uniform(0, 1, 3)
        if abs(colour.mean() - ground.mean()) > 0.25:
            return colour.astype(np.float32)


def _texture(ground: np.ndarray, side: int, rng: np.random.Generator) -> np.ndarray:
    """Return a smooth coloured texture around ``ground`` that stands still, float32 [c y x]."""
    picture = ground.astype(np.float32)[:, None, None]
    for cells, amplitude in ((4, 0.15), (11, 0.125)):
        picture = picture + _spread(rng.normal(0, amplitude, (3, cells, cells)), side)
    return picture


def _shimmer(settings: CorpusSettings, rng: np.random.Generator) -> np.ndarray:
    """Return brightness noise that is new in every frame, in a random soft part of the picture, [f y x]."""
    noise = _spread(rng.normal(0, settings.shimmer, (settings.frames, 16, 16)), settings.size)
    region = 1 / (1 + np.exp(-8 * _spread(rng.normal(0, 1, (1, 3, 3)), settings.size)))
    return noise * region


def _spread(noise: np.ndarray, side: int) -> np.ndarray:
    """Enlarge [n k k] to [n side side] bilinearly, float32."""
    cells = noise.shape[-1]
    where = np.linspace(0, cells - 1, side, dtype=np.float32)
    up = np.maximum(0, 1 - np.abs(where[:, None] - np.arange(cells, dtype=np.float32)))
    return up @ noise.astype(np.float32) @ up.T
