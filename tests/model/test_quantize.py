"""int8 weights: close to what they stand for, exact where they can be, each row by itself."""

import pytest
import torch
from torch import nn

from tests.model.worlds import inputs, world
from worldjepa.model.layers.linear import Linear
from worldjepa.model.quantize import Int8Linear, quantized, weight_bytes
from worldjepa.model.world_model import WorldModel


def linear(out=6, into=16):
    torch.manual_seed(0)
    return Linear(into, out)


def test_weights_are_whole_numbers_times_a_scale_for_each_output():
    made, given = Int8Linear(linear(), "weights"), linear()
    scale = given.weight.abs().amax(dim=1) / 127
    torch.testing.assert_close(made.scale, scale.detach())
    assert torch.equal(made.weight, (given.weight / scale.unsqueeze(1)).round().to(torch.int8))
    assert int(made.weight.abs().max()) == 127
    zero = linear()
    zero.weight.data[2] = 0
    assert torch.equal(Int8Linear(zero, "activations")(torch.ones(1, 16))[0, 2], zero.bias[2])


@pytest.mark.parametrize("into", [5, 16, 32, 96])
@pytest.mark.parametrize("rows", [1, 2, 5, 40])
@pytest.mark.parametrize("gelu", [False, True])
def test_weights_alone_give_what_the_dequantised_map_gives_in_bf16(into, rows, gelu):
    made, x = Int8Linear(linear(into=into), "weights"), torch.randn(rows, 2, into)
    weight = made.weight * made.scale.unsqueeze(1)
    expected = nn.functional.linear(x, weight, made.bias)
    expected = nn.functional.gelu(expected) if gelu else expected
    torch.testing.assert_close(made(x, gelu=gelu), expected, rtol=0, atol=0.02)


def test_activations_are_rounded_by_rows_and_multiplied_exactly():
    made, x = (
        Int8Linear(linear(), "activations"),
        torch.randn(5, 16) * torch.tensor([1e-3, 1, 30, 0, 7]).view(5, 1),
    )
    scale = x.abs().amax(dim=1, keepdim=True) / 127
    whole = (x / scale.clamp_min(1e-30)).round().double()
    assert made.bias is not None
    expected = whole @ made.weight.double().T * scale.double() * made.scale.double() + made.bias.double()
    torch.testing.assert_close(made(x).double(), expected, rtol=1e-6, atol=1e-9)
    for row in range(5):
        assert torch.equal(made(x[row : row + 1])[0], made(x)[row])


@pytest.mark.parametrize(("mode", "worst"), [("weights", 0.03), ("activations", 0.05)])
@torch.no_grad()
def test_a_model_encodes_and_rolls_out_nearly_as_before(mode, worst):
    model = world(dtype=torch.float32, std=0.1, window=3)
    small = quantized(model, mode)
    frames = torch.randint(0, 256, (3, 2, 3, 16, 16), dtype=torch.uint8)
    expected = model.encode(frames)
    assert (small.encode(frames) - expected).norm() < worst * expected.norm()
    latents, actions, past = inputs(model)
    expected = model.rollout(latents, actions, past_actions=past)
    found = small.rollout(latents, actions, past_actions=past)
    assert 0 < (found - expected).norm() < worst * expected.norm()
    state = small.start(latents, past_actions=past)
    _, stepped = small.step(state, actions[:, 0, 0])
    assert (stepped - found[:, 0, 0]).norm() < worst * stepped.norm()


def test_the_model_given_stays_and_every_block_is_changed():
    model = world(dtype=torch.float32)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    small = quantized(model)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    made = [part for part in small.modules() if isinstance(part, Int8Linear)]
    assert len(made) == 4 * (1 + 3) + 3  # of the encoder's block, the predictor's, and their modulation
    saved = sum(3 * part.weight.numel() - 4 * len(part.scale) for part in made)  # a scale more an output
    assert weight_bytes(model) - weight_bytes(small) == saved


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="mode must be one of weights, activations, got 'int4'"):
        quantized(world(), "int4")

    class Other(nn.Module):
        latent_dim = 4

    model = world(dtype=torch.float32)
    model.encoder, model.predictor = Other(), None  # pyright: ignore[reportAttributeAccessIssue]
    assert isinstance(model, WorldModel)
    with pytest.raises(ValueError, match="has no transformer blocks of ours"):
        quantized(model)
