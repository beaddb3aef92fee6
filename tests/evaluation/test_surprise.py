"""Surprise: windows, curves and areas worked out by hand, and a model that sees what happens."""

import pytest
import torch

from tests.evaluation.clips import tiny_model, videos
from worldjepa.evaluation.foresight import NoForesightError, foresee
from worldjepa.evaluation.latents import patch_encoder
from worldjepa.evaluation.surprise import (
    Windows,
    frame_curve,
    pixel_surprise,
    roc_area,
    roc_interval,
    surprise,
    worst,
)


def test_windows_are_cut_from_every_start():
    frames = torch.arange(8, dtype=torch.uint8).reshape(1, 8, 1, 1, 1)
    cut = Windows(frames=3, skip=2).cut(frames)
    assert cut[0, :, :, 0, 0, 0].tolist() == [[0, 2, 4], [1, 3, 5], [2, 4, 6], [3, 5, 7]]
    with pytest.raises(ValueError, match="8 frames is shorter than a window of 9"):
        Windows(frames=5, skip=2).cut(frames)


def test_the_worst_tenth_counts():
    assert worst(torch.arange(20.0)[None]).tolist() == [18.5]
    assert worst(torch.tensor([[1.0, 5.0, 2.0]])).tolist() == [5.0]


def test_a_curve_by_frame_by_hand():
    windows = Windows(frames=4, skip=1)  # two latent steps of two frames; the second is predicted
    curve = frame_curve(torch.tensor([[1.0, 3.0]]), windows, given=1, frames_per_step=2)
    assert curve[0].isnan().tolist() == [True, True, False, False, False]
    assert curve[0, 2:].tolist() == [1.0, 2.0, 3.0]  # frame 3 is shown by both windows


def test_surprise_against_a_slow_reference():
    model, clips, windows = tiny_model(), videos(rows=2, frames=10), Windows(frames=8, skip=1)
    both = surprise(model, clips, windows, given=[1, 2])
    assert both.shape == (2, 2, 3) and not torch.equal(both[0], both[1])
    found = both[1]
    for row in range(2):
        for start in range(3):
            window = clips[row : row + 1, start : start + 8]
            future = foresee(model, window, 2)[1]
            error = (future[0, 0] - model.encode(window)[0, 2]).square().mean(dim=-1).sqrt()
            assert float(found[row, start]) == pytest.approx(float(error.max()), rel=1e-5)  # of 4 tokens one


def test_what_is_shown_is_encoded_alone_and_what_is_to_come_is_not_seen():
    model, clips = tiny_model(), videos()
    changed = clips.clone()
    changed[:, 4:] = 255 - changed[:, 4:]
    for one, other in zip(foresee(model, clips, 2), foresee(model, changed, 2), strict=True):
        torch.testing.assert_close(one, other)
    context, future = foresee(model, clips, 1)
    assert context.shape == (3, 1, 4, 32) and future.shape == (3, 3, 4, 32)
    alone = model.normalise(patch_encoder(model, target=False).tokens(model.prepare(clips[:, :4])))
    torch.testing.assert_close(foresee(model, clips, 2)[0], alone, atol=1e-5, rtol=1e-5)


def test_models_without_a_masked_predictor_are_refused():
    with pytest.raises(NoForesightError, match="train one from video"):
        foresee(tiny_model(masked=False), videos(), 2)
    with pytest.raises(ValueError, match="4 of 4 latent steps are given; expected 1 to 3"):
        foresee(tiny_model(), videos(), 4)


def test_pixel_differences_by_hand():
    clip = torch.zeros(1, 3, 3, 4, 4, dtype=torch.uint8)
    clip[:, 2, :, :2, :2] = 255  # one of four places changes wholly, between the second and the third frame
    assert pixel_surprise(clip, 1, (2, 2)).tolist() == [[0.0, 1.0]]
    assert pixel_surprise(clip, 2, (1, 1)).tolist() == [[0.25]]


def test_the_area_under_the_roc_by_hand():
    assert roc_area(torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0])) == 1
    assert roc_area(torch.tensor([1.0, 3.0]), torch.tensor([2.0, 3.0])) == (1 + 0 + 1 + 0.5) / 4
    low, high = roc_interval(torch.randn(80), torch.randn(80) + 1)  # of normals one apart: 0.76
    assert low < 0.76 < high and high - low < 0.2
