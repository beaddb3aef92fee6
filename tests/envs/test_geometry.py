"""Walls stop dots where the public task does; places and the way to a point on the other side."""

import numpy as np
import pytest

from worldjepa.envs.geometry import Geometry
from worldjepa.envs.scripted import heading

ROOM = Geometry()


def public_move(start: tuple[float, float], end: tuple[float, float], door: float) -> tuple[float, float]:
    """Move one dot past a vertical wall at 112, as the public task does, written out by its facts."""
    x, y = (min(max(value, 21.0), 203.0) for value in end)
    in_door = door - 14 - 1.75 <= y <= door + 14 + 1.75
    if not in_door:
        if start[0] < 112:
            x = 99.5 if x > 112 - 5 - 7 else x
        else:
            x = 124.5 if x < 112 + 5 + 7 else x
    return x, y


@pytest.mark.parametrize(
    ("start", "action", "end"),
    [
        ((50, 100), (5, -3), (55, 97)),  # free
        ((97, 150), (5, 0), (99.5, 150)),  # stopped by the wall, set back half a pixel
        ((126, 150), (-5, 2), (124.5, 152)),  # from the other side
        ((97, 49), (5, 0), (102, 49)),  # through the door
        ((110, 64), (0, 1), (99.5, 65)),  # leaves the opening sideways: beside the wall, where it came from
        ((110, 63), (0, 1.75), (110, 64.75)),  # the last height that is still in the door
        ((22, 30), (-5, -20), (21, 21)),  # the border
        ((200, 200), (5, 5), (203, 203)),
    ],
)
def test_a_dot_stops_where_the_wall_says(start, action, end):
    moved = ROOM.move(
        np.array([start], float), np.array([action], float), np.array([112.0]), np.array([49.0])
    )
    assert moved.tolist() == [list(end)]
    assert public_move(start, (start[0] + action[0], start[1] + action[1]), 49.0) == end


def test_any_step_ends_where_the_public_rule_says():
    rng = np.random.default_rng(0)
    starts = rng.uniform(21, 203, (5000, 2))
    steps = rng.uniform(-10.5, 10.5, (5000, 2))
    lowest, highest = ROOM.door_range
    doors = rng.uniform(lowest, highest, 5000)
    moved = ROOM.move(starts, steps, np.full(5000, 112.0), doors)
    expected = [public_move(tuple(a), tuple(a + s), d) for a, s, d in zip(starts, steps, doors, strict=True)]
    np.testing.assert_array_equal(moved, expected)
    assert (moved != np.clip(starts + steps, 21, 203)).any(axis=1).sum() > 100  # the wall did stop some


def test_places_fill_what_is_free_evenly():
    shares = np.random.default_rng(0).random((20000, 2))
    walls = np.full(20000, 80.0)
    places = ROOM.free_places(shares, walls)
    assert places.min() >= 21 and places.max() <= 203
    assert (np.abs(places[:, 0] - 80) >= 12).all()
    left = (places[:, 0] < 80).mean()  # 47 pixels free on the left, 111 on the right
    assert left == pytest.approx(47 / 158, abs=0.01)
    empty = Geometry(has_wall=False, border=0.0, dot=16.0)
    ends = empty.free_places(np.array([[0.0, 0.0], [1.0, 1.0]]), np.zeros(2))
    assert ends.tolist() == [[16, 16], [208, 208]]


@pytest.mark.parametrize(
    ("position", "target", "point"),
    [
        ((40, 150), (90, 60), (90, 60)),  # same room: straight on
        ((40, 150), (180, 60), (99, 49)),  # the other: to the door's near side
        ((97, 50), (180, 60), (130, 49)),  # before it: through, to its far side
        ((112, 52), (40, 150), (94, 49)),  # within it: out on the target's side
    ],
)
def test_the_way_leads_through_the_door(position, target, point):
    here, there = (np.array([each], float) for each in (position, target))
    found = heading(ROOM, here, there, np.array([112.0]), np.array([49.0]))
    assert found.tolist() == [list(point)]
