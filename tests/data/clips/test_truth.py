"""The truth of a clip goes the way of its frames."""

from pathlib import Path

import numpy as np
import pytest
import torch

from worldjepa.data.clips.listing import training_and_held_out
from worldjepa.data.clips.loader import evaluation_loader
from worldjepa.data.clips.sampling import ClipSampling
from worldjepa.data.clips.truth import STATE, ClipTruth, clip_truth

SAMPLING = ClipSampling(4, frame_skip=2)


def test_masks_and_boxes_lie_where_the_clip_shows_the_shapes(corpus: Path):
    files = training_and_held_out(corpus)[0]
    with evaluation_loader(files, sampling=SAMPLING, size=28, batch_size=24) as clips:
        batch = next(clips)
    sharp = []
    for path, frames in zip(batch.paths, batch.frames, strict=True):
        truth = clip_truth(Path(path), 12, SAMPLING, 28)
        assert truth.masks.shape == (4, 3, 28, 28) and truth.boxes.shape == (4, 3, 4)
        front = truth.masks[:, -1]
        if front.sum() < 200:
            continue
        inside = frames.permute(0, 2, 3, 1)[front].float()
        outside = frames.permute(0, 2, 3, 1)[~truth.masks.any(dim=1)].float()
        sharp.append(float(outside.std(dim=0).mean() - inside.std(dim=0).mean()))
        y, x = front[0].nonzero().T.float()
        x0, y0, x1, y1 = truth.boxes[0, -1]
        assert x0 - 1 <= x.min() and x.max() <= x1 and y0 - 1 <= y.min() and y.max() <= y1
    assert len(sharp) > 5 and np.mean(sharp) > 3  # a shape has one colour, the ground has many


def test_a_shape_that_hardly_shows_is_not_looked_for(corpus: Path):
    files = training_and_held_out(corpus)[0]
    truth = clip_truth(Path(files.paths[0]), 12, SAMPLING, 28)
    shown = truth.masks.float().mean(dim=(2, 3))
    assert torch.equal(truth.seen, shown >= 0.01)


def test_the_state_by_hand():
    masks = torch.zeros(2, 2, 4, 4, dtype=torch.bool)
    masks[0, 0, 0, 0] = masks[0, 1, 0, 1] = True  # centre of both: a quarter right of nothing, at the top
    masks[1, 0, 2:, 2:] = True
    truth = ClipTruth(masks, torch.zeros(2, 2, 4), torch.ones(2, 2, dtype=torch.bool))
    state = dict(zip(STATE, truth.state.T.tolist(), strict=True))
    assert state["x"] == pytest.approx([0.25, 0.75]) and state["y"] == pytest.approx([0.125, 0.75])
    assert state["area"] == pytest.approx([2 / 16, 4 / 16])
    assert state["speed x"] == pytest.approx([0.5, 0.5]) and state["speed y"] == pytest.approx([0.625] * 2)
    empty = ClipTruth(torch.zeros(1, 1, 4, 4, dtype=torch.bool), torch.zeros(1, 1, 4), truth.seen[:1, :1])
    assert empty.state.tolist() == [[0.5, 0.5, 0.0, 0.0, 0.0]]
