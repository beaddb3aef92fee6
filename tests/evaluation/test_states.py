"""The state probe finds a linear state, chooses its penalty, and reports errors in the state's units."""

import pytest
import torch

from worldjepa.evaluation.states import fit_state_probe


def test_a_linear_state_is_read_to_the_noise_that_covers_it():
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(2000, 2, 5, generator=generator)
    weight = torch.randn(10, 2, generator=generator)
    noise = torch.tensor([0.1, 0.5]) * torch.randn(2000, 2, generator=generator)
    state = latents.flatten(1) @ weight + 3 + noise
    probe = fit_state_probe(latents[:1500], state[:1500])
    rmse = probe.rmse(latents[1500:], state[1500:])
    torch.testing.assert_close(rmse, torch.tensor([0.1, 0.5]).double(), rtol=0.1, atol=0)


def test_few_rows_of_many_features_are_regularised():
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(400, 1, 300, generator=generator)
    state = latents[:, 0, :1] + 0.5 * torch.randn(400, 1, generator=generator)
    probe = fit_state_probe(latents[:150], state[:150])
    assert probe.rmse(latents[150:], state[150:]) < state.std()


def test_too_few_rows_are_refused():
    with pytest.raises(ValueError, match="10 rows or more, got 9"):
        fit_state_probe(torch.zeros(9, 1, 2), torch.zeros(9, 1))
