"""Attention in bf16 against float64, however it is cut into groups of heads, with and without gradients."""

import pytest
import torch
import torch.nn.functional as F

from worldjepa.model.layers import mixing
from worldjepa.model.layers.attention import visible
from worldjepa.model.layers.mixing import attend


@pytest.fixture(params=["amx", "avx512_bf16"])
def cpu(request, monkeypatch):
    monkeypatch.setattr(mixing, "bf16_products", lambda: True)
    monkeypatch.setattr(mixing, "amx_products", lambda: request.param == "amx")


def close(found, exact):
    assert (found.double() - exact).norm() < 1e-2 * exact.norm()


def test_bf16_with_a_mask_agrees_with_float32(cpu):
    q, k, v = torch.randn(3, 2, 4, 10, 16)
    mask = visible(torch.arange(10), torch.arange(10), 3)
    exact = attend(q, k, v, mask)
    rough = attend(q.bfloat16(), k.bfloat16(), v.bfloat16(), mask).float()
    assert (rough - exact).abs().max() < 3e-2


@pytest.mark.parametrize(
    ("name", "limit"),
    [("CACHED_SCORES", 1 << 21), ("CACHED_SCORES", 250), ("CACHED_SCORES", 1), ("PLAIN_SCORES", 1)],
)
def test_bf16_and_its_gradients_agree_with_float64(cpu, monkeypatch, name, limit):
    monkeypatch.setattr(mixing, name, limit)
    q, k, v = (torch.randn(2, 4, n, 16).bfloat16().requires_grad_(True) for n in (10, 12, 12))
    pull = torch.randn(2, 10, 4, 16).bfloat16().transpose(1, 2)  # strided, as it comes from joined heads
    mixed = attend(q, k, v)
    doubles = [x.detach().double().requires_grad_(True) for x in (q, k, v)]
    exact = F.scaled_dot_product_attention(doubles[0], doubles[1], doubles[2])
    close(mixed, exact)
    pairs = zip(
        torch.autograd.grad(mixed, (q, k, v), pull),
        torch.autograd.grad(exact, doubles, pull.double()),
        strict=True,
    )
    for found, wanted in pairs:
        close(found, wanted)
    with torch.no_grad():
        close(attend(q, k, v), exact)


def test_a_group_of_heads_may_be_smaller_than_the_others(cpu, monkeypatch):
    monkeypatch.setattr(mixing, "CACHED_SCORES", 2 * 6 * 6)  # two heads at a time, of three
    q, k, v = torch.randn(3, 1, 3, 6, 8).bfloat16().requires_grad_(True).unbind()
    exact = F.scaled_dot_product_attention(q.double(), k.double(), v.double())
    close(attend(q, k, v), exact)
