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
WALL = 0.07  # thickness of a wall, as a share of the side
NOISE_CELLS = 10  # along a side; a share of these cells is noisy


@dataclass(frozen=True)
class CorpusSettings:
    """What is rendered. ``size`` in pixels (even, a multiple of 8), ``shimmer`` as a share of full white.

    ``noise``: the share of the background's area that cannot be predicted, since it is new in every frame.
    """

    train_videos: int = 1600
    val_videos: int = 400
    frames: int = 18
    fps: int = 12
    size: int = 80
    shimmer: float = 0.06
    seed: int = 0
    noise: float = 0.0


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


class Thing(NamedTuple):
    """Something that is painted: a shape on its track, in one colour [c]."""

    shape: str
    track: Track
    colour: np.ndarray


class Wall(NamedTuple):
    """A striped bar across the whole picture: upright at x (axis 0) or level at y (axis 1), shares of it.

    Videos of the corpus have none (``physics.py``).
    """

    axis: int
    place: float


@dataclass(frozen=True)
class Scene:
    """All that a video shows, from back to front: background [c f y x], wall, shapes, specks."""

    motion: str
    planes: np.ndarray
    movers: tuple[Thing, ...]
    specks: tuple[Thing, ...]
    wall: Wall | None = None


def render(motion: str, settings: CorpusSettings, rng: np.random.Generator) -> tuple[np.ndarray, Truth]:
    """Return one video, uint8 [f y x c], and its truth, drawn from ``rng``."""
    return paint(draw_scene(motion, settings, rng))


def draw_scene(motion: str, settings: CorpusSettings, rng: np.random.Generator) -> Scene:
    """Draw what a video shows.

    Noise comes from a stream of its own: it changes nothing else.
    """
    f, side = settings.frames, settings.size
    ground = rng.uniform(0.35, 0.65, 3)
    planes = _texture(ground, side, rng)[:, None] + _shimmer(settings, rng)  # [c f y x]: quicker than c last
    if settings.noise:
        _make_noisy(planes, settings.noise, rng.spawn(1)[0])
    tracks = [move(motion, f, rng) for _ in range(MOVERS)]
    shapes = [str(rng.choice(SHAPES)) for _ in range(MOVERS)]
    movers = tuple(
        Thing(shape, track, contrast(ground, rng)) for shape, track in zip(shapes, tracks, strict=True)
    )
    specks = tuple(Thing("disc", _speck(f, rng), contrast(ground, rng)) for _ in range(SPECKS))
    return Scene(motion, planes, movers, specks)


def paint(scene: Scene) -> tuple[np.ndarray, Truth]:
    """Return the video of a scene, uint8 [f y x c], and its truth."""
    planes = scene.planes.copy()
    f, side = planes.shape[1:3]
    if scene.wall is not None:
        _paint_wall(planes, scene.wall)
    covers = np.stack([_cover(thing.shape, thing.track, side) for thing in scene.movers], axis=1)
    for mover, thing in enumerate(scene.movers):  # later ones in front
        _paint(planes, covers[:, mover], thing.colour)
    for speck in scene.specks:
        _paint(planes, _cover(speck.shape, speck.track, side), speck.colour)
    frames = np.empty((f, side, side, 3), np.uint8)
    frames[:] = np.moveaxis(np.clip(planes, 0, 1) * 255 + 0.5, 0, -1)
    centres = np.stack([thing.track.centre * side for thing in scene.movers], axis=1)
    return frames, _truth(scene.motion, covers > 0.5, centres.astype(np.float32))


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


def contrast(ground: np.ndarray, rng: np.random.Generator) -> np.ndarray:
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


def _make_noisy(planes: np.ndarray, share: float, rng: np.random.Generator) -> None:
    """Put noise that is new in every frame into a share of the cells of ``planes`` [c f y x], in place."""
    c, f, side = planes.shape[:3]
    chosen = rng.permutation(NOISE_CELLS**2).reshape(NOISE_CELLS, NOISE_CELLS) < round(share * NOISE_CELLS**2)
    cell = np.arange(side) * NOISE_CELLS // side
    noise = _spread(rng.normal(0, 0.2, (c * f, 2 * NOISE_CELLS, 2 * NOISE_CELLS)), side)
    planes += chosen[cell][:, cell] * noise.reshape(planes.shape)


def _paint_wall(planes: np.ndarray, wall: Wall) -> None:
    """Paint black and white stripes over ``planes`` [c f y x] in place."""
    side = planes.shape[-1]
    grid = (np.arange(side) + 0.5) / side
    inside = np.abs(grid - wall.place) < WALL / 2
    stripes = np.where(grid * 10 % 1 < 0.5, 0.05, 0.95).astype(np.float32)
    if wall.axis == 0:
        planes[:, :, :, inside] = stripes[:, None]
    else:
        planes[:, :, inside] = stripes[None, :]


def _spread(noise: np.ndarray, side: int) -> np.ndarray:
    """Enlarge [n k k] to [n side side] bilinearly, float32."""
    cells = noise.shape[-1]
    where = np.linspace(0, cells - 1, side, dtype=np.float32)
    up = np.maximum(0, 1 - np.abs(where[:, None] - np.arange(cells, dtype=np.float32)))
    return up @ noise.astype(np.float32) @ up.T
