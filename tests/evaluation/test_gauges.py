"""Gauges of a representation, each against a value computed by hand or a slow reference."""

import math

import numpy as np
import pytest
import torch

from worldjepa.evaluation import gauges


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_rankme_of_equal_singular_values_is_their_number():
    assert gauges.rankme(3 * torch.eye(5, dtype=torch.float64)) == pytest.approx(5)
    ones = torch.ones(7, 4, dtype=torch.float64)
    assert gauges.rankme(ones) == pytest.approx(1, abs=1e-3)
    two = torch.diag(torch.tensor([3.0, 1.0], dtype=torch.float64))  # shares 3/4 and 1/4
    assert gauges.rankme(two) == pytest.approx(math.exp(-0.75 * math.log(0.75) - 0.25 * math.log(0.25)))


def slow_lidar(views):
    """LiDAR as its paper writes it, with numpy's matrix square root by eigenvectors."""
    n, v, d = views.shape
    means = views.mean(1)
    between = sum(np.outer(m - means.mean(0), m - means.mean(0)) for m in means) / n
    within = sum(np.outer(views[i, j] - means[i], views[i, j] - means[i]) for i in range(n) for j in range(v))
    values, vectors = np.linalg.eigh(within / (n * v) + 1e-4 * np.eye(d))
    root = vectors @ np.diag(values**-0.5) @ vectors.T
    spectrum = np.clip(np.linalg.eigvalsh(root @ between @ root), 0, None)
    share = spectrum / spectrum.sum()
    return math.exp(-sum(p * math.log(p) for p in share if p > 0))


def test_lidar_against_a_slow_reference():
    clips = draw(30, 1, 6) * torch.tensor([5.0, 3, 2, 1, 0.5, 0.1])
    views = clips + draw(30, 4, 6, seed=1) * torch.tensor([0.1, 0.1, 2, 1, 1, 3])
    assert gauges.lidar(views) == pytest.approx(slow_lidar(views.numpy()), rel=1e-9)


def test_lidar_counts_directions_that_tell_clips_apart():
    clips = torch.zeros(64, 1, 5, dtype=torch.float64)
    clips[:, 0, 0] = draw(64).sign()
    clips[:, 0, 1] = draw(64, seed=3).sign()
    noise = draw(64, 8, 5, seed=4)
    noise[..., :2] *= 0.01
    assert gauges.lidar(clips + noise) == pytest.approx(2, abs=0.15)  # the three noisy ones do not count
    assert gauges.lidar(torch.zeros(4, 2, 3)) == 1.0


def test_variance_by_hand():
    latents = torch.tensor([[0.0, 1.0, 5.0], [2.0, 1.0, 5.001]])
    mean, least, dead = gauges.variance(latents)  # 2, 0 and 5e-7
    assert mean == pytest.approx((2 + 0 + 5e-7) / 3, rel=1e-3) and least == 0
    assert dead == pytest.approx(2 / 3)


def test_alignment_against_all_pairs():
    views = draw(5, 3, 4)
    unit = views / views.norm(dim=-1, keepdim=True)
    distance = lambda a, b: float((a - b).square().sum())  # noqa: E731
    pairs = [(i, j) for i in range(3) for j in range(3) if i != j]
    same = np.mean([distance(clip[i], clip[j]) for clip in unit for i, j in pairs])
    other = np.mean(
        [
            distance(unit[a, i], unit[b, j])
            for a in range(5)
            for b in range(5)
            if a != b
            for i in range(3)
            for j in range(3)
        ]
    )
    assert gauges.alignment(views) == pytest.approx((same, other))


def test_straightness_of_a_line_a_corner_and_a_return():
    line = torch.tensor([[0.0, 0.0], [1.0, 1.0], [3.0, 3.0]])
    corner = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 4.0]])
    back = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 0.0]])
    for path, expected in ((line, 1), (corner, 0), (back, -1)):
        assert gauges.straightness(path[None]) == pytest.approx(expected)
    assert gauges.straightness(torch.stack([line, corner])) == pytest.approx(0.5)
    with pytest.raises(ValueError, match="3 latent steps or more, got 2"):
        gauges.straightness(torch.zeros(1, 2, 3))
