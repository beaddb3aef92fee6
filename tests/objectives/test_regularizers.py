"""Regularisers against hand-computed values and slow references."""

import math
from itertools import pairwise

import torch

from worldjepa.objectives.regularizers import consistency_term, covariance_term, sigreg_term, variance_term


def same(x):
    return x


def test_variance_is_a_hinge_on_the_standard_deviation():
    x = torch.tensor([[0.0, 3.0], [1.0, -3.0], [0.0, 3.0], [1.0, -3.0]])
    # dimension 0: std 0.5 -> 1 - sqrt(0.25 + 1e-4); dimension 1: std 3 -> 0
    assert math.isclose(float(variance_term(x, same)), (1 - math.sqrt(0.2501)) / 2, abs_tol=1e-6)


def test_covariance_counts_only_off_diagonal_entries():
    x = torch.tensor([[1.0, 2.0, 0.0], [-1.0, -2.0, 0.0]])
    assert abs(float(covariance_term(x, same)) - (2.0**2 + 2.0**2) / 3) < 1e-6


def test_sigreg_equals_a_slow_reference():
    x = torch.randn(7, 3, generator=torch.Generator().manual_seed(1))
    directions = torch.randn(3, 5, generator=torch.Generator().manual_seed(2))
    total = 0.0
    for j in range(5):
        z = x @ (directions[:, j] / directions[:, j].norm())
        knots = [3 * i / 16 for i in range(17)]
        values = []
        for t in knots:
            real = sum(math.cos(t * float(v)) for v in z) / 7
            imaginary = sum(math.sin(t * float(v)) for v in z) / 7
            values.append(((real - math.exp(-t * t / 2)) ** 2 + imaginary**2) * math.exp(-t * t / 2))
        total += sum((a + b) / 2 * 3 / 16 for a, b in pairwise(values))
    here = sigreg_term(x, same, generator=torch.Generator().manual_seed(2), num_projections=5)
    assert math.isclose(float(here), 2 * 7 * total / 5, rel_tol=1e-5)


def test_sigreg_prefers_a_normal_batch():
    draw = torch.Generator().manual_seed(0)
    normal = torch.randn(512, 8, generator=draw)
    terms = [
        sigreg_term(x, same, generator=draw, num_projections=64) for x in (normal, normal * 0.1, normal * 5)
    ]
    assert terms[0] < 0.05 * terms[1] and terms[0] < 0.05 * terms[2]


def test_consistency_ignores_length():
    x = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    y = torch.tensor([[5.0, 0.0], [0.0, 2.0], [-1.0, 0.0]])
    assert consistency_term(x, y).tolist() == [0.0, 1.0, 2.0]
