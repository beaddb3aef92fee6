"""Clips of the built-in corpus that break physics, each with its possible twin.

Twins are one scene, equal in every frame before the break, after which one goes on as everything in the
corpus does. What has learnt how things go on is surprised by the other only: violation of expectation
(IntPhys, arXiv:1803.07616; V-JEPA's intuitive physics, arXiv:2502.11831).

``vanish``    a shape is there no more;
``teleport``  it goes on elsewhere;
``wall``      it goes on behind a wall that it has not crossed; in the twin it passes in front of the wall.

The break takes a few frames, in which one video turns into the other: a jump would show in the difference of
two frames, to one who expects nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from worldjepa.data.clips.scenes import (
    DIRECTIONS,
    WALL,
    CorpusSettings,
    Scene,
    Track,
    Wall,
    draw_scene,
    paint,
)

STEADY = (*DIRECTIONS, "grow", "shrink", "still")  # motions that can be foreseen
FADE = 4  # frames that the break takes
LEAP = 0.3  # least distance of a teleport, as a share of the side
MARGIN = 0.12  # how far inside the picture the centre of the shape is at the break

Change = Callable[[Scene, int, np.random.Generator], tuple[Scene, Scene] | None]


@dataclass(frozen=True)
class Twins:
    """Two videos, uint8 [f y x c], that are equal before frame ``at``; the second cannot happen."""

    kind: str
    possible: np.ndarray
    impossible: np.ndarray
    at: int


def draw_twins(kind: str, settings: CorpusSettings, number: int) -> Twins:
    """Return pair ``number`` of a kind; the break is about mid-time, and happens to the shape in front.

    Raises:
        ValueError: an unknown kind.
    """
    if kind not in KINDS:
        raise ValueError(f"kind={kind!r}: expected one of {', '.join(KINDS)}")
    rng = np.random.default_rng((settings.seed, 2, list(KINDS).index(kind), number))
    while True:
        scene = draw_scene(str(rng.choice(tuple(DIRECTIONS) if kind == "wall" else STEADY)), settings, rng)
        at = int(rng.integers(settings.frames * 4 // 9, settings.frames * 5 // 9 + 1))
        pair = KINDS[kind](scene, at, rng)
        if pair is None:  # it would not be seen: another scene
            continue
        (possible, _), (other, _) = paint(pair[0]), paint(pair[1])
        share = np.clip((np.arange(settings.frames) - at + 1) / FADE, 0, 1)[:, None, None, None]
        mixed = (1 - share) * possible + share * other
        return Twins(kind, possible, (mixed + 0.5).astype(np.uint8), at)


def _vanish(scene: Scene, at: int, rng: np.random.Generator) -> tuple[Scene, Scene] | None:
    track = scene.movers[-1].track
    return (scene, _moved(scene, np.full(2, 9.0))) if _inside(track.centre[at]) else None


def _teleport(scene: Scene, at: int, rng: np.random.Generator) -> tuple[Scene, Scene] | None:
    track, leap = scene.movers[-1].track, rng.uniform(-1, 1, 2)
    fits = np.hypot(*leap) > LEAP and _inside(track.centre[at]) and _inside(track.centre[at] + leap)
    return (scene, _moved(scene, leap)) if fits else None


def _wall(scene: Scene, at: int, rng: np.random.Generator) -> tuple[Scene, Scene] | None:
    """Stand the wall where the shape comes to it at the break, and leap over it."""
    track, way = scene.movers[-1].track, np.array(DIRECTIONS[scene.motion])
    reach = float(track.radius[at]) + WALL / 2
    axis = int(np.flatnonzero(way)[0])
    place = track.centre[at] + reach * way
    leap = 2 * reach * way
    if not (_inside(track.centre[at]) and _inside(track.centre[at] + leap)):
        return None
    possible = replace(scene, wall=Wall(axis, float(place[axis])))
    return possible, _moved(possible, leap)


def _inside(centre: np.ndarray) -> bool:
    return bool(np.all((centre > MARGIN) & (centre < 1 - MARGIN)))


def _moved(scene: Scene, by: np.ndarray) -> Scene:
    """Return the scene with the shape in front moved."""
    front = scene.movers[-1]
    track = Track(front.track.centre + by, front.track.radius, front.track.angle)
    return replace(scene, movers=(*scene.movers[:-1], front._replace(track=track)))


KINDS: dict[str, Change] = {"vanish": _vanish, "teleport": _teleport, "wall": _wall}
