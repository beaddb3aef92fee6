"""The state probe finds a linear state, chooses its penalty, and reports errors in the state's units."""

import pytest
import torch

from worldjepa.evaluation.states import PENALTIES, _Ridge, fit_state_probe


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


@pytest.mark.parametrize("penalty", PENALTIES[::5])
def test_more_features_than_rows_are_fitted_as_fewer_are(penalty):
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(30, 4, 9, generator=generator).double()
    state = torch.randn(30, 2, generator=generator).double()
    probe = _Ridge(latents, state).probe(penalty)
    x = latents.flatten(1)
    x = (x - x.mean(dim=0)) / x.std(dim=0)
    gram = x.T @ x + 30 * penalty * torch.eye(36).double()
    torch.testing.assert_close(probe.weight, torch.linalg.solve(gram, x.T @ (state - state.mean(dim=0))))


def test_all_patches_of_a_large_encoder_are_read():
    latents = torch.randn(40, 1024, 64, generator=torch.Generator().manual_seed(0))
    state = 100 * latents.flatten(1).mean(dim=1, keepdim=True)  # products of features would take 34 GB
    probe = fit_state_probe(latents, state)
    assert probe.weight.shape == (65536, 1) and probe.rmse(latents, state) < 0.1 * state.std()


def test_too_few_rows_are_refused():
    with pytest.raises(ValueError, match="10 rows or more, got 9"):
        fit_state_probe(torch.zeros(9, 1, 2), torch.zeros(9, 1))
