"""The fused linear map against the plain one, and when each serves."""

import pytest
import torch
import torch.nn.functional as F

from worldjepa.model.layers.linear import Linear


def build(dtype=torch.float32):
    torch.manual_seed(0)
    return Linear(24, 40).to(dtype), torch.randn(3, 7, 24, dtype=dtype)


@pytest.mark.parametrize("gelu", [False, True])
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6), (torch.bfloat16, 2e-2)]
)
def test_equals_a_plain_linear_map_with_and_without_gradient(dtype, tolerance, gelu):
    layer, x = build(dtype)
    expected = F.linear(*(tensor.double() for tensor in (x, layer.weight, layer.bias)))
    expected = F.gelu(expected) if gelu else expected
    with torch.no_grad():
        without = layer(x, gelu=gelu)
    assert without.dtype == dtype and layer(x, gelu=gelu).requires_grad
    for result in (without, layer(x, gelu=gelu)):
        torch.testing.assert_close(result.double(), expected, atol=tolerance, rtol=tolerance)


def test_autocast_gives_the_same_precision_with_and_without_gradient():
    layer, x = build()
    with torch.autocast("cpu", torch.bfloat16):
        trained = layer(x, gelu=True)
        with torch.no_grad():
            fused = layer(x, gelu=True)
    assert trained.dtype == fused.dtype == torch.bfloat16
    torch.testing.assert_close(fused.float(), trained.float(), atol=2e-2, rtol=2e-2)


def test_frozen_weights_still_pass_gradients_to_their_input():
    layer, x = build()
    layer.requires_grad_(False)
    x.requires_grad_(True)
    (gradient,) = torch.autograd.grad(layer(x, gelu=True).sum(), x)
    with torch.no_grad():
        step = 1e-3 * torch.ones_like(x)
        change = (layer(x + step, gelu=True) - layer(x - step, gelu=True)).sum() / 2
    torch.testing.assert_close((gradient * step).sum(), change, atol=1e-5, rtol=1e-3)


def test_a_map_without_bias_and_of_no_tokens():
    layer = Linear(4, 3, bias=False)
    with torch.no_grad():
        torch.testing.assert_close(layer(torch.ones(2, 4)), layer.weight.sum(1).expand(2, 3))
        assert layer(torch.ones(0, 4)).shape == (0, 3)
