"""Categorical CEM: known best sequences, one-hots only, rows apart, hostile costs."""

# pyright: reportOptionalSubscript=false, reportOptionalMemberAccess=false, reportArgumentType=false

import itertools

import pytest
import torch

from worldjepa.planning import ActionDist, categorical_cem

SIZES = (3, 2)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def table(b, horizon, seed=0):
    """Return a cost with an interaction between neighbouring steps, and its table of numbers."""
    scores = torch.randn(b, horizon, sum(SIZES), generator=generator(seed))
    pairs = torch.randn(b, sum(SIZES), sum(SIZES), generator=generator(seed + 1))

    def cost(actions):
        alone = torch.einsum("bsla,bla->bs", actions, scores)
        return alone + torch.einsum("bsla,bslc,bac->bs", actions[:, :, :-1], actions[:, :, 1:], pairs)

    return cost


def hots():
    """Return all one-hot blocks there are."""
    first, second = torch.eye(3), torch.eye(2)
    return torch.stack([torch.cat([first[i], second[j]]) for i in range(3) for j in range(2)])


def test_the_best_of_all_sequences():
    """Against all 6 ** 3 sequences."""
    cost, b, horizon = table(4, 3), 4, 3
    every = torch.stack([torch.stack(plan) for plan in itertools.product(hots(), repeat=horizon)])
    least = cost(every.expand(b, -1, -1, -1)).min(dim=1).values
    init = ActionDist.uniform(SIZES, batch=b, horizon=horizon)
    plan = categorical_cem(cost, init, sizes=SIZES, num_samples=200, num_elites=40, generator=generator())
    torch.testing.assert_close(plan.cost, least)
    torch.testing.assert_close(cost(plan.actions[:, None])[:, 0], plan.cost)
    assert plan.dist.logits.isfinite().all()
    likely = plan.dist.logits.exp()
    torch.testing.assert_close(likely[..., :3].sum(-1), torch.ones(b, horizon))
    assert (likely[plan.actions == 1] > 0.5).float().mean() > 0.7


def test_candidates_and_plans_are_one_hots_of_each_choice():
    seen = []

    def cost(actions):
        seen.append(actions)
        return actions[..., 0].sum(dim=-1)

    init = ActionDist.uniform(SIZES * 2, batch=2, horizon=2)
    plan = categorical_cem(cost, init, sizes=SIZES * 2, num_samples=20, num_elites=4, generator=generator())
    for actions in [*seen, plan.actions[:, None]]:
        assert set(actions.unique().tolist()) == {0.0, 1.0}
        for choice in actions.split(SIZES * 2, dim=-1):
            assert torch.equal(choice.sum(-1), torch.ones_like(choice[..., 0]))
    assert (plan.actions[..., 0] == 0).all()


def test_rows_are_independent():
    cost = table(3, 2)
    init = lambda b: ActionDist.uniform(SIZES, batch=b, horizon=2)  # noqa: E731
    whole = categorical_cem(cost, init(3), sizes=SIZES, generator=[generator(i) for i in range(3)])
    for row in range(3):
        spread = lambda actions, row=row: cost(actions.expand(3, -1, -1, -1))[row : row + 1]  # noqa: E731
        alone = categorical_cem(spread, init(1), sizes=SIZES, generator=[generator(row)])
        assert torch.equal(alone.actions[0], whole.actions[row])
        torch.testing.assert_close(alone.dist.logits[0], whole.dist.logits[row])


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_costs_that_are_not_finite(bad):
    def cost(actions):
        costs = torch.where(actions[:, :, 0, 0] == 1, bad, actions[:, :, 0, 1])
        costs[1] = bad
        return costs

    init = ActionDist.uniform(SIZES, batch=2, horizon=1)
    plan = categorical_cem(cost, init, sizes=SIZES, generator=generator())
    assert plan.actions[0, 0, :3].tolist() == [0, 0, 1]
    assert plan.cost.tolist() == [0, torch.inf]
    assert torch.equal(plan.dist.logits[1], init.logits[1])
    assert plan.num_nonfinite[1] == 6 * 300 > plan.num_nonfinite[0] > 0


def test_what_does_not_fit():
    cost = lambda actions: actions.sum(dim=(-2, -1))  # noqa: E731
    with pytest.raises(ValueError, match=r"sizes=\(3,\) add up to 3"):
        categorical_cem(cost, ActionDist.uniform(SIZES, batch=1, horizon=1), sizes=(3,))
    box = ActionDist.initial((torch.zeros(5), torch.ones(5)), batch=1, horizon=1)
    with pytest.raises(ValueError, match="mean and std"):
        categorical_cem(cost, box, sizes=SIZES)


def test_logits_that_are_no_probabilities():
    init = ActionDist(logits=torch.tensor([[[torch.nan, 0.0]]]))
    with pytest.raises(ValueError, match="no probabilities"):
        categorical_cem(lambda actions: actions.sum(dim=(2, 3)), init, sizes=[2])
