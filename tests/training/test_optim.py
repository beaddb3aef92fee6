import math
from typing import Any

import pytest
import torch
from torch import nn

from worldjepa.config import OptimConfig
from worldjepa.training.optim import (
    ema_momentum,
    learning_rate,
    make_optimizer,
    parameter_groups,
    set_rates,
    weight_decay,
)


def config(**changes):
    plain: dict[str, Any] = {"lr": 1.0, "start_lr": 0.2, "final_lr": 0.1, "warmup": 0.2, "cooldown": 0.3}
    plain["schedule"] = "wsd"
    return OptimConfig(**plain | changes)


def rates(optim, total=10):
    return [learning_rate(step, total, optim) for step in range(total)]


def test_wsd_by_hand():
    # 2 warm-up steps: 0.2 + 0.8/2, then 1; 3 of cooldown: down by 0.9/3 each, ending at 0.1
    assert rates(config()) == pytest.approx([0.6, 1, 1, 1, 1, 1, 1, 0.7, 0.4, 0.1], abs=1e-12)


def test_cosine_by_hand():
    shares = [k / 8 for k in range(1, 9)]
    tail = [0.1 + 0.9 * (1 + math.cos(math.pi * share)) / 2 for share in shares]
    assert rates(config(schedule="cosine")) == pytest.approx([0.6, 1, *tail], abs=1e-12)
    assert tail[3] == pytest.approx(0.55)
    assert rates(config(schedule="cosine"))[-1] == 0.1


def test_constant_and_no_warmup():
    assert rates(config(schedule="constant")) == pytest.approx([0.6] + [1] * 9)
    assert rates(config(schedule="constant", warmup=0.0)) == [1.0] * 10
    assert rates(config(warmup=0.0, cooldown=0.0)) == [1.0] * 10


def test_the_first_update_moves_even_when_warmup_starts_at_zero():
    assert learning_rate(0, 100, config(start_lr=0.0, warmup=0.1)) == pytest.approx(0.1)


def test_published_recipe():
    # V-JEPA 2: 1e-4 -> 5.25e-4 over 12k of 252k steps, then constant, cooldown of 12k to 1e-6
    optim = config(lr=5.25e-4, start_lr=1e-4, final_lr=1e-6, warmup=12 / 252, cooldown=12 / 252)
    assert learning_rate(5999, 252_000, optim) == pytest.approx((1e-4 + 5.25e-4) / 2)
    assert learning_rate(12_000, 252_000, optim) == 5.25e-4
    assert learning_rate(239_999, 252_000, optim) == 5.25e-4
    assert learning_rate(251_999, 252_000, optim) == pytest.approx(1e-6)


def test_decay_and_momentum_run_in_a_line_and_end_exactly():
    optim = config(weight_decay=(0.04, 0.4), ema=(0.998, 1.0))
    assert [weight_decay(step, 4, optim) for step in range(4)] == pytest.approx([0.04, 0.16, 0.28, 0.4])
    assert [ema_momentum(step, 3, optim) for step in range(3)] == pytest.approx([0.998, 0.999, 1.0])
    for total in (1, 2, 7, 1000):
        assert ema_momentum(0, total, optim) == 0.998
        assert total == 1 or ema_momentum(total - 1, total, optim) == 1.0
        assert all(ema_momentum(s, total, config(ema=(0.99925, 0.99925))) == 0.99925 for s in range(total))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"lr": None}, "optim.lr is unset"),
        ({"schedule": "linear"}, "expected wsd, cosine or constant"),
        ({"warmup": 0.6, "cooldown": 0.6}, "together exceed 1"),
    ],
)
def test_impossible_settings_are_named(changes, says):
    with pytest.raises(ValueError, match=says):
        learning_rate(9, 10, config(**changes))
    with pytest.raises(ValueError, match=r"optim\.ema is unset"):
        ema_momentum(0, 10, config())


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Conv3d(3, 8, 2)
        self.linear = nn.Linear(8, 8)
        self.norm = nn.LayerNorm([2, 4])  # a norm's weight with two axes
        self.attention = nn.MultiheadAttention(8, 2)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, 8))
        self.positions = nn.Parameter(torch.zeros(1, 16, 8))
        self.table = nn.Embedding(4, 8)
        self.frozen = nn.Linear(8, 8).requires_grad_(False)


def group_names(model):
    names = {id(p): n for n, p in model.named_parameters()}
    return {g["decays"]: {names[id(p)] for p in g["params"]} for g in parameter_groups(model)}


def test_only_matrices_of_linear_layers_and_convolutions_decay():
    groups = group_names(Model())
    assert groups[True] == {
        "embed.weight",
        "linear.weight",
        "attention.in_proj_weight",
        "attention.out_proj.weight",
    }
    everything = {n for n, p in Model().named_parameters() if p.requires_grad}
    assert groups[False] == everything - groups[True]
    assert not any(name.startswith("frozen") for name in everything)


def test_a_shared_matrix_is_updated_once():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].weight = model[0].weight
    assert sum(len(g["params"]) for g in parameter_groups(model)) == 3


def test_one_update_by_hand():
    model = nn.Linear(2, 1)
    optim = OptimConfig(lr=0.1, warmup=0.0, schedule="constant", weight_decay=(0.5, 0.5))
    optimizer = make_optimizer(model, optim)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[2.0, -4.0]]))
        model.bias.copy_(torch.tensor([3.0]))
    assert set_rates(optimizer, 0, 10, optim) == 0.1
    model.weight.grad, model.bias.grad = torch.tensor([[0.3, -0.7]]), torch.tensor([5.0])
    optimizer.step()
    # Adam's first step is lr * sign(gradient); the weight shrinks by lr * decay before it, the bias does not
    torch.testing.assert_close(model.weight.detach(), torch.tensor([[2.0 * 0.95 - 0.1, -4.0 * 0.95 + 0.1]]))
    torch.testing.assert_close(model.bias.detach(), torch.tensor([2.9]))
    assert optimizer.defaults["fused"]


def test_a_frozen_model_is_refused():
    with pytest.raises(ValueError, match="no parameter"):
        make_optimizer(nn.Linear(2, 2).requires_grad_(False), config())
