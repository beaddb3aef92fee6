"""Heads on frozen tokens: right where the answer is known, chosen without the clips that judge."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from worldjepa.evaluation.attentive import AttentiveProbe, scaled_heads
from worldjepa.evaluation.heads import Schedule, _pace, apply, fit_heads

CPU = torch.device("cpu")


def one_bright_token(n, seed):
    """Return clips one of whose tokens, anywhere, tells the class: an average over tokens hardly does."""
    draw = torch.Generator().manual_seed(seed)
    tokens = torch.randn(n, 3, 4, 32, generator=draw)
    labels = torch.randint(0, 4, (n,), generator=draw)
    place = torch.randint(0, 12, (n,), generator=draw)
    tokens.view(n, 12, 32)[torch.arange(n), place] += 15 * F.one_hot(labels, 32)
    return tokens.half(), labels


def test_an_attentive_probe_finds_what_one_token_says():
    (tokens, labels), (other, truth) = one_bright_token(400, 0), one_bright_token(200, 1)
    fitted = fit_heads(
        tokens,
        lambda: AttentiveProbe(dim=32, classes=4, depth=2, num_heads=2),
        lambda out, ids: F.cross_entropy(out, labels[ids]),
        lambda out, ids: (out.argmax(dim=1) == labels[ids]).float().mean(),
        Schedule([3e-3, 1e-7], [0.01], epochs=12),
        CPU,
    )
    assert fitted.setting == (3e-3, 0.01)  # the other one learns nothing
    scores = apply(fitted.head, other, CPU)
    assert float((scores.argmax(dim=1) == truth).float().mean()) > 0.8
    assert isinstance(fitted.head, AttentiveProbe)
    weights = fitted.head.weights(other[:50].float())
    torch.testing.assert_close(weights.sum(dim=(1, 2)), torch.ones(50))


def test_the_pooled_answer_is_attention_over_all_tokens():
    torch.manual_seed(0)
    probe = AttentiveProbe(dim=32, classes=5, depth=1, num_heads=2).double()
    nn.init.normal_(probe.query)
    tokens = torch.randn(2, 3, 4, 32, dtype=torch.float64)
    seen = probe.norm1(tokens.flatten(1, 2))
    q, (k, v) = probe.q(probe.query[0, 0]), probe.kv(seen).split(32, dim=-1)
    heads = []
    for h in range(2):
        cut = slice(16 * h, 16 * h + 16)
        heads.append(((q[cut] @ k[..., cut].mT / 4).softmax(dim=-1).unsqueeze(1) @ v[..., cut])[:, 0])
    pooled = probe.query[:, 0] + torch.cat(heads, dim=-1)
    expected = probe.classifier(pooled + probe.mlp(probe.norm2(pooled).unsqueeze(1))[:, 0])
    torch.testing.assert_close(probe(tokens), expected)


@pytest.mark.parametrize(("dim", "heads"), [(1024, 16), (128, 8), (96, 6), (192, 12), (20, 1), (24, 1)])
def test_heads_are_fewer_where_latents_are_narrow(dim: int, heads: int):
    assert scaled_heads(dim, 16) == heads


def test_the_choice_never_sees_what_is_trained_on():
    tokens, labels = one_bright_token(50, 0)
    trained, chose = set(), []

    def loss(out, ids):
        trained.update(ids.tolist())
        return F.cross_entropy(out, labels[ids])

    def score(out, ids):
        chose.append(ids.tolist())
        return torch.zeros(())

    make = lambda: nn.Sequential(nn.Flatten(), nn.Linear(384, 4))  # noqa: E731
    fitted = fit_heads(tokens, make, loss, score, Schedule([1e-3], [0.0, 0.1], epochs=2), CPU)
    assert len(chose) == 2 and chose[0] == chose[1] and len(chose[0]) == 10
    assert trained.isdisjoint(chose[0]) and len(trained) == 40
    assert list(fitted.scores) == ["lr=0.001, weight_decay=0", "lr=0.001, weight_decay=0.1"]
    with pytest.raises(ValueError, match="10 clips or more, got 9"):
        fit_heads(tokens[:9], make, loss, score, Schedule([1e-3], [0.0], epochs=1), CPU)


def test_the_learning_rate_rises_and_falls():
    paces = [_pace(step, 100) for step in range(100)]
    assert paces[0] == pytest.approx(0.1) and paces[9] == 1 and paces[10] == 1
    assert paces[55] == pytest.approx(0.5) and paces[99] == pytest.approx(
        0.5 * (1 + math.cos(math.pi * 89 / 90))
    )
