"""Average precision: cases worked out by hand, and a slow reference."""

import numpy as np
import pytest
import torch

from worldjepa.evaluation.average_precision import Matched, average_precision, match


def boxes(*rows):
    return torch.tensor(rows, dtype=torch.float32).reshape(-1, 4)


def test_each_true_box_is_found_once_by_the_best_score():
    truths = boxes([0, 0, 10, 10], [20, 20, 30, 30])
    found = boxes([0, 0, 10, 9], [0, 0, 10, 10], [20, 20, 30, 24], [50, 50, 60, 60])
    matched = match(found, torch.tensor([0.9, 0.8, 0.7, 0.6]), truths)
    assert matched.right.tolist() == [True, False, False, False]  # 0.9 wide, taken, IoU 0.4, nothing there
    assert matched.truths == 2
    assert match(found, torch.tensor([0.9, 0.8, 0.7, 0.6]), truths, iou=0.3).right.tolist() == [1, 0, 1, 0]
    nothing = match(found, torch.ones(4), boxes())
    assert nothing.right.tolist() == [False] * 4 and nothing.truths == 0


def test_the_area_by_hand():
    # by score: right, wrong, right, wrong, of 3; precision 1, 1/2, 2/3, 1/2; recall 1/3, 2/3 at the rights
    one = Matched(torch.tensor([0.9, 0.5]), torch.tensor([True, False]), 2)
    two = Matched(torch.tensor([0.7, 0.6]), torch.tensor([False, True]), 1)
    assert average_precision([one, two]) == pytest.approx((1 + 2 / 3) / 3)
    assert average_precision([Matched(torch.tensor([0.3]), torch.tensor([True]), 1)]) == 1.0
    assert average_precision([Matched(torch.zeros(0), torch.zeros(0, dtype=torch.bool), 3)]) == 0.0
    assert np.isnan(average_precision([Matched(torch.tensor([0.3]), torch.tensor([False]), 0)]))


def test_against_a_slow_reference():
    rng = np.random.default_rng(0)
    for _ in range(20):
        right, scores = rng.random(30) < 0.4, rng.random(30)
        total = int(right.sum()) + int(rng.integers(0, 5))
        ranked = right[np.argsort(-scores)]
        points = [(ranked[: k + 1].sum() / total, ranked[: k + 1].mean()) for k in range(30)]
        area, before = 0.0, 0.0
        for recall, _ in points:
            area += (recall - before) * max(p for r, p in points if r >= recall)
            before = recall
        pictures = [Matched(torch.tensor(scores), torch.tensor(right), total)]
        assert average_precision(pictures) == pytest.approx(area)
