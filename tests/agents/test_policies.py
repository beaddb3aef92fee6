"""Distributions over action blocks: their density, entropy and gradients."""

import pytest
import torch
from torch.distributions import Normal, TransformedDistribution
from torch.distributions.transforms import TanhTransform

from worldjepa.agents.policies import MEAN_LIMIT, STD_RANGE, BoxPolicy, ChoicePolicy

LOW, HIGH = torch.tensor([-2.0, 0.0]), torch.tensor([2.0, 10.0])


def test_a_box_is_drawn_from_with_the_density_of_a_gaussian_behind_a_tanh():
    said, noise = torch.randn(64, 4), torch.randn(64, 2)
    policy = BoxPolicy.read(said, LOW, HIGH)
    actions, surprise = policy.sample(noise)
    inside = (actions - LOW) / (HIGH - LOW) * 2 - 1
    squeezed = TransformedDistribution(Normal(policy.mean, policy.std), [TanhTransform(cache_size=1)])
    expected = -squeezed.log_prob(inside.clamp(-0.99999, 0.99999)).sum(-1)
    near = (inside.abs() < 0.999).all(-1)
    assert near.sum() > 40
    torch.testing.assert_close(surprise[near], expected[near], rtol=2e-3, atol=2e-3)
    assert (actions >= LOW).all() and (actions <= HIGH).all()


def test_a_box_without_noise_takes_the_middle_of_its_gaussian_and_stays_in_range():
    policy = BoxPolicy.read(torch.tensor([[0.0, 1e6, -1e6, 1e6]]), LOW, HIGH)
    assert policy.mean.tolist() == [[0.0, MEAN_LIMIT]]
    torch.testing.assert_close(policy.std, torch.tensor([STD_RANGE]))
    middle, most = policy.mode()[0].tolist()
    assert middle == 0.0
    assert 9.9 < most <= 10.0


def test_choices_are_drawn_as_often_as_their_shares_and_tell_their_entropy():
    logits = torch.tensor([0.0, 1.0, 2.0, 0.0, 0.0])
    policy = ChoicePolicy(logits.expand(20000, -1), (3, 2))
    uniform = torch.rand(20000, 5, generator=torch.Generator().manual_seed(0)).clamp(1e-7, 1 - 1e-7)
    drawn, entropy = policy.sample(-(-uniform.log()).log())
    first = 0.99 * logits[:3].softmax(0) + 0.01 / 3
    shares = torch.cat([first, torch.tensor([0.5, 0.5])])
    torch.testing.assert_close(drawn.mean(0), shares, atol=0.015, rtol=0)
    assert drawn[:, :3].sum(-1).allclose(torch.ones(20000))
    expected = -(shares * shares.log()).sum()
    torch.testing.assert_close(entropy, expected.expand(20000))
    assert policy.mode()[0].tolist() in ([0, 0, 1, 1, 0], [0, 0, 1, 0, 1])


def test_the_gradient_of_choices_is_that_of_their_shares():
    logits = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(4, 3, dtype=torch.float64)
    drawn, _ = ChoicePolicy(logits, (3,)).sample(torch.zeros(4, 3, dtype=torch.float64))
    (through,) = torch.autograd.grad((drawn * weights).sum(), logits)
    (direct,) = torch.autograd.grad((0.99 * logits.softmax(-1) * weights).sum(), logits)
    assert through.allclose(direct)
    assert drawn.detach().max(-1).values == pytest.approx(1.0)
