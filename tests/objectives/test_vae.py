"""The variational autoencoder: its divergence and noise by hand, and learning."""

import math

import torch

from tests.objectives.made_videos import PIXELS, clips, decoder, encoder, fit
from worldjepa.objectives.vae import VariationalAutoencoder, divergence


def build(**weights):
    torch.manual_seed(2)
    return VariationalAutoencoder(encoder(), decoder(), weights={"prediction": 1.0, **weights})


def test_divergence_by_hand():
    """KL(N(1, 4), N(0, 1)) = (1 + 4 - 1 - ln 4) / 2; a standard normal's is 0."""
    mean, log_variance = torch.tensor([[[1.0, 0.0]]]), torch.tensor([[[math.log(4), 0.0]]])
    torch.testing.assert_close(divergence(mean, log_variance), torch.tensor([[2 - math.log(2)]]))


def test_the_term_is_the_divergence_of_a_token_by_the_values_of_a_tubelet():
    objective, batch = build(kl=0.1), clips()
    posterior = objective.auxiliary["posterior"]
    assert isinstance(posterior, torch.nn.Linear)
    torch.nn.init.zeros_(posterior.weight)
    with torch.no_grad():
        posterior.bias.copy_(torch.cat([torch.ones(32), torch.full((32,), math.log(4))]))
    kl = objective(batch)[0]["kl"]
    torch.testing.assert_close(kl, torch.full((3,), 32 * (2 - math.log(2)) / PIXELS))


def test_codes_have_the_mean_and_spread_that_are_read_off_and_rows_noise_of_their_own():
    objective, latents = build(kl=0.1), torch.zeros(4, 500, 32)
    posterior = objective.auxiliary["posterior"]
    assert isinstance(posterior, torch.nn.Linear)
    with torch.no_grad():
        posterior.bias.copy_(torch.cat([torch.ones(32), torch.full((32,), math.log(4))]))
    code = objective.code(latents, seed=3, first_row=0)[0].detach()
    assert abs(float(code.mean()) - 1) < 0.02 and abs(float(code.std()) - 2) < 0.02
    later, _ = objective.code(latents[:2], seed=3, first_row=2)
    assert torch.equal(later, code[2:]) and not torch.equal(code[0], code[1])
    assert not torch.equal(objective.code(latents, seed=4, first_row=0)[0], code)


def test_one_batch_is_overfitted():
    losses = fit(build(kl=1e-3), clips(rows=2), steps=80)
    assert losses[-1] < 0.7 * losses[0]
