"""Initial distributions, warm starts, and fits to weighted candidates."""

# pyright: reportOptionalSubscript=false, reportOptionalMemberAccess=false, reportArgumentType=false

import pytest
import torch

from worldjepa.planning import ActionDist, shift, widen
from worldjepa.planning.distribution import BoxProposal, ChoiceProposal

BOUNDS = (torch.tensor([-1.0, 0.0]), torch.tensor([1.0, 4.0]))


def test_the_initial_gaussian_covers_the_box():
    dist = ActionDist.initial(BOUNDS, batch=3, horizon=2)
    assert dist.mean.shape == dist.std.shape == (3, 2, 2)
    assert dist.mean[2, 1].tolist() == [0.0, 2.0]
    assert dist.std[0, 0].tolist() == [1.0, 2.0]
    assert ActionDist.initial(([-1], [1]), batch=1, horizon=1, spread=0.25).std.item() == 0.5


@pytest.mark.parametrize(
    ("bounds", "words"),
    [
        (([-1.0], [float("inf")]), "must be finite"),
        (([float("-inf")], [1.0]), "recorded actions"),
        (([1.0], [-1.0]), "low <= high"),
        (([-1.0, 0.0], [1.0]), "two float vectors"),
        ((-1.0, 1.0), "two float vectors"),
    ],
)
def test_bounds_that_are_none(bounds, words):
    with pytest.raises(ValueError, match=words):
        ActionDist.initial(bounds, batch=1, horizon=1)


def test_a_distribution_is_one_thing():
    with pytest.raises(ValueError, match="mean and std, or logits; got mean"):
        ActionDist(mean=torch.zeros(1, 1, 1))
    with pytest.raises(ValueError, match="got nothing"):
        ActionDist()


def test_shift_repeats_the_last_step():
    mean = torch.tensor([[[1.0], [2.0], [3.0]]])
    later = shift(ActionDist(mean=mean, std=mean / 10), steps=2)
    assert later.mean[0, :, 0].tolist() == [3, 3, 3]
    assert shift(ActionDist(mean=mean, std=mean / 10)).mean[0, :, 0].tolist() == [2, 3, 3]
    assert torch.equal(shift(ActionDist(logits=mean), steps=1).logits[0, :, 0], torch.tensor([2.0, 3, 3]))
    assert shift(ActionDist(logits=mean), steps=9).logits[0, :, 0].tolist() == [3, 3, 3]
    assert torch.equal(shift(ActionDist(logits=mean), steps=0).logits, mean)


def test_widen():
    fresh = ActionDist.initial(BOUNDS, batch=1, horizon=1)
    narrow = ActionDist(mean=torch.tensor([[[0.5, 1.0]]]), std=torch.tensor([[[0.1, 1.5]]]))
    wide = widen(narrow, fresh, 0.5)
    assert wide.std[0, 0].tolist() == [0.5, 1.5]
    assert torch.equal(wide.mean, narrow.mean)
    logits = torch.tensor([[[0.0, -100.0, 3.0, 3.0, -100.0]]])
    mixed = widen(ActionDist(logits=logits), ActionDist(logits=logits), 0.5, sizes=(2, 3)).logits.exp()
    torch.testing.assert_close(mixed[0, 0], torch.tensor([0.75, 0.25, 5 / 12, 5 / 12, 1 / 6]))
    even = widen(ActionDist(logits=logits), ActionDist(logits=logits), 2.0, sizes=(2, 3)).logits.exp()
    torch.testing.assert_close(even[0, 0], torch.tensor([1 / 2, 1 / 2, 1 / 3, 1 / 3, 1 / 3]))


def test_a_gaussian_is_refitted_by_weight_and_rows_without_weights_stay():
    proposal = BoxProposal(*BOUNDS, min_std=torch.tensor([0.1, 0.1]))
    old = ActionDist.initial(BOUNDS, batch=2, horizon=1)
    candidates = torch.tensor([[[[0.0, 1.0]], [[1.0, 1.0]], [[9.0, 9.0]]]]).repeat(2, 1, 1, 1)
    weights = torch.tensor([[0.75, 0.25, 0.0], [0.0, 0.0, 0.0]])
    new = proposal.refit(old, candidates, weights)
    torch.testing.assert_close(new.mean[0, 0], torch.tensor([0.25, 1.0]))
    torch.testing.assert_close(new.std[0, 0], torch.tensor([(0.75 * 0.25) ** 0.5, 0.1]))
    assert torch.equal(new.mean[1], old.mean[1]) and torch.equal(new.std[1], old.std[1])


def test_choices_are_refitted_by_weight():
    proposal = ChoiceProposal((2, 3), min_share=0.1, momentum=0.5)
    old = ActionDist(logits=torch.zeros(1, 1, 5))
    hot = torch.eye(5)
    candidates = torch.stack([hot[0] + hot[2], hot[1] + hot[2]])[None, :, None]
    new = proposal.refit(old, candidates, torch.tensor([[0.8, 0.2]])).logits.exp()[0, 0]
    kept = torch.tensor([0.5 * 0.5 + 0.5 * 0.8, 0.5 * 0.5 + 0.5 * 0.2, 1 / 6 + 0.5, 1 / 6, 1 / 6])
    torch.testing.assert_close(new, 0.9 * kept + 0.1 * torch.tensor([0.5, 0.5, 1 / 3, 1 / 3, 1 / 3]))


def test_samples_of_choices_have_the_asked_frequencies():
    from worldjepa.planning.noise import Streams

    shares = torch.tensor([0.7, 0.3, 0.1, 0.2, 0.7])
    dist = ActionDist(logits=shares.log().repeat(1, 1, 1))
    proposal = ChoiceProposal.of(dist, (2, 3), min_share=0.0)
    drawn = proposal.sample(dist, 20_000, Streams(torch.Generator().manual_seed(0), dist.logits))
    assert torch.equal(drawn[..., :2].sum(-1), torch.ones(1, 20_000, 1))
    torch.testing.assert_close(drawn.mean(dim=(0, 1, 2)), shares, atol=0.015, rtol=0)
