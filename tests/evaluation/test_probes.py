"""Probes: right on data whose answer is known, at chance on noise."""

import pytest
import torch

from worldjepa.evaluation.probes import (
    Features,
    extract,
    knn_probe,
    linear_probe,
    pool_latents,
    pool_pixels,
    probe,
)
from worldjepa.types import Batch


def blobs(n, spread, seed=0, classes=4):
    draw = torch.Generator().manual_seed(seed)
    centres = torch.randn(classes, 12, generator=torch.Generator().manual_seed(99))
    labels = torch.arange(n) % classes
    return Features(centres[labels] + spread * torch.randn(n, 12, generator=draw), labels)


def test_separable_classes_are_found():
    score = probe(blobs(200, 0.1), blobs(80, 0.1, seed=1))
    assert score.linear == 1.0 and score.knn == 1.0
    assert score.linear_low > 0.95


def test_noise_is_at_chance():
    draw = torch.Generator().manual_seed(5)
    train = Features(torch.randn(400, 12, generator=draw), torch.arange(400) % 4)
    held_out = Features(torch.randn(400, 12, generator=draw), torch.arange(400) % 4)
    score = probe(train, held_out)
    assert abs(score.linear - 0.25) < 0.08 and abs(score.knn - 0.25) < 0.08


def test_linear_probe_ignores_what_is_not_linear():
    draw = torch.Generator().manual_seed(3)
    values = torch.randn(600, 2, generator=draw)
    labels = (values[:, 0] * values[:, 1] > 0).long()  # exclusive or
    score = probe(Features(values[:400], labels[:400]), Features(values[400:], labels[400:]))
    assert score.linear < 0.65 and score.knn > 0.85


def test_pooling():
    latents = torch.arange(16.0).reshape(1, 2, 4, 2)
    assert pool_latents(latents).tolist() == [[3.0, 4.0, 11.0, 12.0]]
    frames = torch.full((1, 2, 3, 32, 32), 255, dtype=torch.uint8)
    assert pool_pixels(frames).shape == (1, 2 * 3 * 256) and float(pool_pixels(frames).min()) == 1.0


def test_one_class_is_refused():
    with pytest.raises(ValueError, match="2 classes or more"):
        probe(Features(torch.zeros(3, 2), torch.zeros(3, dtype=torch.long)), blobs(4, 0.1))


def test_extract_leaves_out_unknown_labels():
    frames = torch.arange(6, dtype=torch.uint8).reshape(3, 1, 2, 1, 1)
    batch = Batch(frames, labels=torch.tensor([4, -1, 0]))
    double, same = extract([batch, batch], [lambda x: 2 * x.flatten(1), lambda x: x.flatten(1)])
    assert same.labels.tolist() == [4, 0, 4, 0]
    assert same.values.tolist() == [[0, 1], [4, 5]] * 2
    assert torch.equal(double.values, 2 * same.values)


def test_probabilities_of_classes_sum_to_one_and_agree_with_the_score():
    train, held_out = blobs(200, 1.0), blobs(80, 1.0, seed=1)
    score = probe(train, held_out)
    for fit, accuracy in ((linear_probe, score.linear), (knn_probe, score.knn)):
        shares = fit(train, held_out)
        torch.testing.assert_close(shares.sum(dim=1), torch.ones(80))
        assert float((shares.argmax(dim=1) == held_out.labels).float().mean()) == pytest.approx(accuracy)
