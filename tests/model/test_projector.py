"""Projector, BatchNorm and readouts against torch's own layers and by hand."""

import pytest
import torch
from torch import nn

from worldjepa.model.encoder import VideoEncoder
from worldjepa.model.projector import BatchNorm, Projector, Readout


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_batch_norm_equals_torchs_in_training_and_in_eval_mode():
    ours, theirs = BatchNorm(5), nn.BatchNorm1d(5, affine=False)
    for step in range(4):
        x = normal(6, 3, 5, seed=step) * 2 + 1
        torch.testing.assert_close(ours(x).flatten(0, 1), theirs(x.flatten(0, 1)), atol=1e-6, rtol=1e-5)
    assert theirs.running_mean is not None and theirs.running_var is not None
    torch.testing.assert_close(ours.running_mean, theirs.running_mean)
    biased = (theirs.running_var - 0.9**4) * 17 / 18 + 0.9**4  # torch keeps the unbiased variance of 18 rows
    torch.testing.assert_close(ours.running_var, biased)
    ours.eval()
    x = normal(2, 1, 5, seed=9)
    expected = (x - ours.running_mean) / (ours.running_var + 1e-5).sqrt()
    torch.testing.assert_close(ours(x), expected)


def test_batch_norm_takes_the_mean_over_ranks_and_its_gradient():
    """Two halves of a batch, whose means are exchanged, give what the whole gives, gradients included."""
    x = normal(8, 3).requires_grad_()
    weight = normal(8, 3, seed=1)
    (expected,) = torch.autograd.grad((BatchNorm(3)(x) * weight).sum(), x)
    whole = BatchNorm(3)(x)
    halves, other = x[:4], x[4:]
    norm, others = BatchNorm(3), []
    mean = other.mean(0)
    everywhere = (halves.mean(0) + mean) / 2
    others = [mean, (other - everywhere).square().mean(0)]
    norm.mean = lambda own: (own + others.pop(0)) / 2
    torch.testing.assert_close(norm(halves), whole[:4])
    assert expected.abs().sum() > 0
    torch.testing.assert_close(norm.running_mean, 0.1 * x.mean(0))


def test_batch_norm_computes_in_float32_under_autocast():
    x = 1000 + normal(64, 4)
    with torch.autocast("cpu", torch.bfloat16):
        out = BatchNorm(4)(x)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out.std(0, correction=0), torch.ones(4), atol=1e-3, rtol=0)


def build_encoder(pool, norm="batch"):
    torch.manual_seed(0)
    projector = Projector(dim=32, num_tokens=16, latent_dim=12, hidden_dim=20, pool=pool, norm=norm)
    settings = {
        "dim": 32,
        "depth": 1,
        "num_heads": 2,
        "patch_size": 4,
        "tubelet_size": 1,
        "attention": "step",
    }
    return VideoEncoder(**settings, projector=projector)


@pytest.mark.parametrize("pool", ["flatten", "mean"])
def test_an_encoder_with_a_projector_gives_one_latent_a_step(pool):
    encoder = build_encoder(pool)
    x = normal(3, 2, 3, 16, 16)
    tokens, latents = encoder.tokens(x), encoder(x)
    assert tokens.shape == (3, 2, 16, 32) and latents.shape == (3, 2, 1, 12)
    assert encoder.latent_dim == 12 and encoder.latent_grid(16, 16) == (1, 1)
    assert VideoEncoder(dim=32, num_heads=2, patch_size=4).latent_grid(16, 8) == (4, 2)
    projector = encoder.projector
    assert projector is not None
    pooled = tokens.flatten(2) if pool == "flatten" else tokens.mean(2)
    hidden = nn.functional.gelu(pooled @ projector.fc1.weight.T + projector.fc1.bias)
    plain = (hidden @ projector.fc2.weight.T).flatten(0, 1)
    expected = nn.functional.batch_norm(plain, None, None, training=True)
    torch.testing.assert_close(latents.flatten(0, 2), expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(latents.flatten(0, 2).mean(0), torch.zeros(12), atol=1e-5, rtol=0)
    encoder.eval()
    torch.testing.assert_close(encoder(x)[1:2, 1:], encoder(x[1:2, 1:]), atol=1e-5, rtol=1e-5)


def test_another_number_of_tokens_is_refused():
    with pytest.raises(ValueError, match=r"has 4 tokens; this projector was built for 16"):
        build_encoder("flatten")(normal(2, 1, 3, 8, 8))
    with pytest.raises(ValueError, match="pool must be one of flatten, mean"):
        build_encoder("max")


def test_a_readout_sees_every_token_and_where_it_stands():
    torch.manual_seed(0)
    read = Readout(dim=6, num_tokens=4, out_dim=3, hidden_dim=32)
    x = normal(2, 5, 4, 6)
    out = read(x)
    assert out.shape == (2, 5, 3)
    torch.testing.assert_close(read(x[1:, 2:3]), out[1:, 2:3])
    assert not torch.allclose(read(x.flip(2)), out, atol=1e-3)
