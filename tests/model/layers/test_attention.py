"""Attention against a slow reference; the cache against no cache; shared segments against copies."""

import pytest
import torch

from worldjepa.model.layers.attention import PADDING, Attention, visible
from worldjepa.model.layers.cache import KeyValues, Past
from worldjepa.model.layers.rope import grid_positions, rotary
from worldjepa.types import Grid


def redrawn(module):
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return module


def slow_attention(layer, x, steps, window):
    """One query, one head, one row at a time."""
    b, n, d = x.shape
    width = d // layer.num_heads
    q, k, v = layer.qkv(x).split(d, dim=-1)
    out = torch.zeros_like(x)
    for row in range(b):
        for head in range(layer.num_heads):
            part = slice(head * width, (head + 1) * width)
            for i in range(n):
                seen = [j for j in range(n) if steps is None or 0 <= steps[i] - steps[j] < (window or n)]
                logits = torch.stack([q[row, i, part] @ k[row, j, part] / width**0.5 for j in seen])
                weights = logits.exp() / logits.exp().sum()
                out[row, i, part] = sum(w * v[row, j, part] for w, j in zip(weights, seen, strict=True))
    return layer.proj(out)


@pytest.mark.parametrize("window", [None, 1, 2])
def test_equals_a_slow_reference(window):
    layer = redrawn(Attention(8, 2)).double()
    x = torch.randn(2, 6, 8, dtype=torch.float64)
    steps = torch.tensor([0, 0, 1, 1, 2, 3])
    torch.testing.assert_close(
        layer(x, steps=steps, window=window)[0], slow_attention(layer, x, steps, window)
    )
    torch.testing.assert_close(layer(x)[0], slow_attention(layer, x, None, None))


@pytest.mark.parametrize("room", [0, 20])
@pytest.mark.parametrize("window", [None, 2])
def test_cached_equals_uncached(window, room):
    grid = Grid(5, 2, 2)
    layer = redrawn(Attention(24, 2)).double()
    x = torch.randn(3, grid.n, 24, dtype=torch.float64)
    table = rotary(grid_positions(grid), 12)
    whole, _ = layer(x, rotary=table, steps=torch.arange(grid.n) // grid.p, window=window)
    own, parts = None, []
    with torch.no_grad():
        for t in range(grid.t):
            now = slice(t * grid.p, (t + 1) * grid.p)
            seen = own if own is None or window is None else own.last((window - 1) * grid.p)
            out, own = layer(x[:, now], rotary=table.cut(now), past=Past(own=seen, room=room))
            parts.append(out)
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, atol=1e-10, rtol=0)


def test_a_shared_past_equals_its_copies():
    layer = redrawn(Attention(16, 2)).double()
    b, s = 2, 3
    prefix = layer(torch.randn(b, 4, 16, dtype=torch.float64), steps=torch.tensor([0, 0, 1, 1]))[1]
    copied = KeyValues.of(*(x.repeat_interleave(s, dim=1) for x in (prefix.keys, prefix.values)))
    x = torch.randn(b * s, 2, 16, dtype=torch.float64)
    shared, _ = layer(x, past=Past(shared=prefix))
    torch.testing.assert_close(shared, layer(x, past=Past(shared=copied))[0], atol=1e-12, rtol=0)
    torch.testing.assert_close(shared, layer(x, past=Past(own=copied))[0], atol=1e-12, rtol=0)


def test_padding_is_never_seen():
    layer = redrawn(Attention(16, 2)).double()
    x = torch.randn(1, 4, 16, dtype=torch.float64)
    alone, _ = layer(x[:, 2:], steps=torch.tensor([[0, 1]]))
    padded, _ = layer(x, steps=torch.tensor([[PADDING, PADDING, 0, 1]]))
    torch.testing.assert_close(padded[:, 2:], alone, atol=1e-12, rtol=0)


def test_visible_follows_the_rule():
    steps = torch.tensor([0, 1, 2, PADDING])
    expected = [[1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 1]]  # padding sees padding only
    assert visible(steps, steps, 2)[0].int().tolist() == expected


@pytest.mark.parametrize("window", [None, 2])
@pytest.mark.parametrize("known", ["nothing", "steps", "places"])
def test_packed_parts_equal_each_alone(known, window):
    layer = redrawn(Attention(16, 2)).double()
    x = torch.randn(2, 9, 16, dtype=torch.float64)
    steps = torch.tensor([0, 1, 2, 3, 0, 0, 2, 3, 3]).expand(2, -1)
    places = torch.tensor([0, 1, 0, 1, 0, 1, 0, 1, 0]).expand(2, -1)
    rule = {"nothing": {}, "steps": {"steps": steps}, "places": {"steps": steps, "places": places}}[known]
    packed, _ = layer(x, window=window, parts=(4, 5), **rule)
    for cut in (slice(0, 4), slice(4, 9)):
        alone, _ = layer(x[:, cut], window=window, **{key: ids[:, cut] for key, ids in rule.items()})
        torch.testing.assert_close(packed[:, cut], alone, atol=1e-12, rtol=0)


def test_heads_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="num_heads=3"):
        Attention(16, 3)
