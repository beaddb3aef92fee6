"""Segmentation: cells and IoU by hand, and a map that is there to be found."""

import pytest
import torch

from worldjepa.evaluation.heads import Schedule
from worldjepa.evaluation.segmentation import cell_masks, iou_figure, mean_iou, segment
from worldjepa.types import Grid

CPU = torch.device("cpu")


def test_cells_of_a_patch_are_covered_where_most_of_their_pixels_are():
    masks = torch.zeros(1, 1, 32, 32, dtype=torch.bool)
    masks[0, 0, :2, 16:18] = True  # the first cell of the second token's patch: 2 x 2 pixels
    masks[0, 0, 16, 0:2] = True  # half of a cell
    cells = cell_masks(masks, Grid(1, 2, 2))
    assert cells.shape == (1, 1, 4, 64)
    assert cells.nonzero().tolist() == [[0, 0, 1, 0]]
    odd = cell_masks(torch.ones(1, 1, 28, 28, dtype=torch.bool), Grid(1, 2, 2))
    assert odd.shape == (1, 1, 4, 49) and bool(odd.all())  # a patch of 14 has 7 x 7 cells


def test_mean_iou_by_hand():
    guess = torch.tensor([1, 1, 0, 0, 0, 0, 0, 0], dtype=torch.bool).reshape(1, 1, 2, 4)
    truth = torch.tensor([0, 1, 1, 0, 0, 0, 0, 0], dtype=torch.bool).reshape(1, 1, 2, 4)
    assert float(mean_iou(guess, truth)) == pytest.approx((1 / 3 + 5 / 7) / 2)
    both = torch.cat([guess, truth]), torch.cat([truth, truth])  # unions of all clips, not a mean of clips
    assert iou_figure(*both).value == pytest.approx(((1 + 2) / (3 + 2) + (5 + 6) / (7 + 6)) / 2)


def test_a_linear_map_is_found_and_judged_on_other_clips():
    draw = torch.Generator().manual_seed(0)
    tokens = torch.randn(60, 2, 4, 12, generator=draw)
    cells = (tokens @ torch.randn(12, 9, generator=draw)) > 0
    fit, judge = (tokens[:40].half(), cells[:40]), (tokens[40:].half(), cells[40:])
    figure = segment(fit, judge, Schedule([0.03], [0.0], epochs=60, batch_size=16), CPU)
    assert figure.low is not None and figure.high is not None
    assert figure.value > 0.85 and figure.low <= figure.value <= figure.high
    shuffled = segment(
        (fit[0].flip(0), fit[1]), judge, Schedule([0.03], [0.0], epochs=20, batch_size=16), CPU
    )
    assert shuffled.value < 0.5
