"""Detection: places, assignment and boxes by hand, and boxes that are there to be found."""

import pytest
import torch

from worldjepa.evaluation.detection import Boxes, assign, decode, detect, matches, places
from worldjepa.evaluation.heads import Schedule
from worldjepa.types import Grid

GRID, SIZE = Grid(1, 2, 2), (16, 16)  # patches of 8 pixels, places 4 pixels apart


def boxes(*rows, seen=None):
    values = torch.tensor(rows, dtype=torch.float32).reshape(1, 1, -1, 4)
    known = torch.ones(values.shape[:3], dtype=torch.bool) if seen is None else torch.tensor([[seen]])
    return Boxes(values, known, SIZE)


def test_places_stand_in_the_middle_of_quarters_of_patches():
    where, apart = places(GRID, SIZE)
    assert apart == 4 and where.shape == (16, 2)
    assert where[:5].tolist() == [[2, 2], [6, 2], [10, 2], [14, 2], [2, 6]]


def test_places_near_the_centre_claim_the_smallest_box():
    wanted, which = assign(boxes([0, 0, 16, 16], [4, 4, 8, 8]), GRID)
    claimed = wanted[0, 0].reshape(4, 4)
    assert claimed.tolist() == [[0, 0, 0, 0], [0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]]
    assert which[0, 0, 5].tolist() == [4, 4, 8, 8]  # the place at 6, 6 is in both
    assert which[0, 0, 10].tolist() == [0, 0, 16, 16]
    wanted, which = assign(boxes([0, 0, 16, 16], [4, 4, 8, 8], seen=[True, False]), GRID)
    assert which[0, 0, 5].tolist() == [0, 0, 16, 16]


def test_distances_are_decoded_in_places_and_cut_off_at_the_border():
    out = torch.zeros(16, 5)
    out[0, 1:] = torch.tensor([1.0, 0.25, 2.0, 1.5]).log()
    assert decode(out, GRID, SIZE)[0].tolist() == pytest.approx([0, 1, 10, 8])  # from 2, 2; 2 - 4 < 0
    assert decode(out, GRID, SIZE)[5].tolist() == pytest.approx([2, 2, 10, 10])


def test_what_is_found_is_matched_by_clip_and_step():
    out = torch.full((1, 1, 16, 5), -20.0)
    out[0, 0, 5] = torch.tensor([3.0, 0, 0, 0, 0])  # the box 2, 2, 10, 10
    (clip,) = matches(out, boxes([2, 2, 10, 10]), GRID)
    (step,) = clip
    assert (
        step.truths == 1 and bool(step.right[0]) and float(step.scores[0]) == pytest.approx(0.9526, abs=1e-3)
    )


def test_boxes_are_found_in_tokens_that_tell_of_them():
    generator = torch.Generator().manual_seed(0)
    n = 240
    corner = torch.randint(0, 3, (n, 1, 1, 2), generator=generator) * 4.0
    truth = Boxes(torch.cat([corner, corner + 8], dim=-1), torch.ones(n, 1, 1, dtype=torch.bool), SIZE)
    row, column = (torch.arange(4).div(2, rounding_mode="floor"), torch.arange(4) % 2)
    far = torch.stack([truth.values[:, :, 0, :1] - 8 * column, truth.values[:, :, 0, 1:2] - 8 * row], dim=-1)
    tokens = torch.cat([far, far.square() / 8, (far - 4).abs()], dim=-1).half()  # [n 1 4 6]
    cut = lambda rows: (tokens[rows], Boxes(truth.values[rows], truth.seen[rows], SIZE))  # noqa: E731
    schedule = Schedule([1e-2], [0.0], epochs=25, batch_size=32)
    found = detect(cut(slice(0, 160)), cut(slice(160, n)), GRID, schedule, torch.device("cpu"))
    assert found.low is not None and found.high is not None
    assert found.value > 0.85 and found.low <= found.value <= found.high
    shuffled = (tokens[torch.randperm(160, generator=generator)], cut(slice(0, 160))[1])
    blind = detect(shuffled, cut(slice(160, n)), GRID, schedule, torch.device("cpu"))
    assert blind.value < 0.6
