"""Intervals: published values, and what resampling a known distribution has to give."""

import pytest
import torch

from worldjepa.evaluation.intervals import bootstrap, wilson


def test_wilson_against_published_values():
    low, high = wilson(8, 10)  # Newcombe 1998, table I style: 0.4902 to 0.9433
    assert abs(low - 0.4902) < 1e-3 and abs(high - 0.9433) < 1e-3
    assert wilson(0, 0) == (0.0, 1.0)


def test_bootstrap_of_a_mean_is_two_standard_errors_wide():
    values = torch.randn(400, generator=torch.Generator().manual_seed(0))
    low, high = bootstrap(lambda ids: float(values[ids].mean()), 400, resamples=2000)
    error = float(values.std()) / 400**0.5
    assert low == pytest.approx(float(values.mean()) - 1.96 * error, abs=0.15 * error)
    assert high == pytest.approx(float(values.mean()) + 1.96 * error, abs=0.15 * error)
    assert bootstrap(lambda ids: 3.0, 5) == (3.0, 3.0)
    assert bootstrap(lambda ids: float(values[ids].mean()), 400) == bootstrap(
        lambda ids: float(values[ids].mean()), 400
    )
