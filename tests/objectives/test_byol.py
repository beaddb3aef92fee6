"""Two views: the loss by a literal reference, who learns, who follows."""

import copy

import pytest
import torch
import torch.nn.functional as F

from tests.objectives.made_videos import clips, encoder, fit
from worldjepa.model.frames import normalise_pixels
from worldjepa.objectives.byol import Mlp, TwoViews
from worldjepa.training.ema import update_target


def build(**changes):
    net = encoder()
    target = copy.deepcopy(net).requires_grad_(False)
    return TwoViews(net, target, **changes)


def test_the_term_compares_each_view_with_the_projection_of_the_other():
    objective, batch = build(), clips()
    assert batch.second is not None
    found = objective(batch)[0]["prediction"]
    pooled, targets = [], []
    for frames in (batch.frames, batch.second):
        x = normalise_pixels(frames.float() / 255)
        pooled.append(objective.encoder(x).flatten(1, 2).mean(1))
        targets.append(objective.target_encoder(x).flatten(1, 2).mean(1))

    def mlp(part, x):
        hidden = x @ part.fc1.weight.T
        hidden = (hidden - hidden.mean(0)) / (hidden.var(0, unbiased=False) + 1e-5).sqrt()
        return hidden.relu() @ part.fc2.weight.T + part.fc2.bias

    parts, total = objective.auxiliary, 0
    for mine, theirs in zip(pooled, reversed(targets), strict=True):
        said = F.normalize(mlp(parts["predictor"], mlp(parts["projector"], mine)), dim=1)
        wanted = F.normalize(mlp(parts["target_projector"], theirs), dim=1)
        total = total + 0.25 * (said - wanted).square().sum(dim=1)  # half of each view's half distance
    torch.testing.assert_close(found, total, atol=1e-5, rtol=1e-4)


def test_targets_get_no_gradient_and_the_projector_is_followed():
    objective = build()
    objective.total(objective(clips())[0]).backward()
    target, source = objective.copies[0]
    assert isinstance(target, Mlp) and isinstance(source, Mlp)
    assert all(p.grad is None for part in (objective.target_encoder, target) for p in part.parameters())
    trained = [p for p in objective.parameters() if p.requires_grad]
    assert trained and all(p.grad is not None for p in trained)
    torch.nn.init.ones_(source.fc1.weight)
    before = target.fc1.weight.clone()
    update_target(target, source, 0.75)
    torch.testing.assert_close(target.fc1.weight, 0.75 * before + 0.25)


def test_a_batch_of_one_view_is_no_batch():
    with pytest.raises(AssertionError, match="two clips a video"):
        build()(clips().rows(0, 2).__class__(clips().frames))


def test_one_batch_is_overfitted():
    losses = fit(build(), clips(rows=4), steps=15)
    assert losses[-1] < 0.3 * losses[0]
