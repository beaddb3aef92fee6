"""Learning curves as pictures: where their points come to lie."""

import torch

from worldjepa.learning_curve import BOTTOM, COLOURS, HEIGHT, LEFT, RIGHT, TOP, WIDTH, curve_picture


def pixels_of(picture, colour):
    """Return rows and columns inside the frame that have a colour."""
    inside = picture[:, TOP - 1 : HEIGHT - BOTTOM + 2, : WIDTH - RIGHT + 2]
    there = (inside == torch.tensor(colour, dtype=torch.uint8)[:, None, None]).all(0).nonzero()
    return there[:, 0] + TOP - 1, there[:, 1]


def test_a_rising_line_and_a_level_one():
    curves = {"agent": [(100.0, -10.0), (200.0, 0.0)], "random": [(0.0, -10.0)]}
    picture = curve_picture(curves, title="return")
    rows, columns = pixels_of(picture, COLOURS[0])
    middle = (LEFT + WIDTH - RIGHT) // 2
    assert abs(int(columns.min()) - middle) <= 2 and abs(int(columns.max()) - (WIDTH - RIGHT)) <= 2
    assert abs(int(rows[columns.argmax()]) - TOP) <= 2
    rows, columns = pixels_of(picture, COLOURS[1])
    assert int(columns.min()) == LEFT and set(rows.tolist()) <= set(range(HEIGHT - BOTTOM - 2, HEIGHT))


def test_curves_of_one_value_can_be_drawn():
    assert curve_picture({"a": [(0.0, 3.0)]}, title="").shape == (3, HEIGHT, WIDTH)
