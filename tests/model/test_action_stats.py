"""Scaling of action blocks, by hand."""

import pytest
import torch

from worldjepa.model.action_stats import ActionStats


def test_blocks_are_scaled_step_by_step():
    stats = ActionStats(2)
    block = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    assert torch.equal(stats.scale(block), block)  # fresh ones change nothing
    stats.set(torch.tensor([1.0, 2.0]), torch.tensor([2.0, 0.5]))
    assert stats.scale(block).tolist() == [[0.0, 0.0, 1.0, 4.0]]
    assert stats.scale(block[0]).tolist() == [0.0, 0.0, 1.0, 4.0]
    assert set(stats.state_dict()) == {"mean", "std"}


def test_a_dimension_that_never_varies_is_only_shifted():
    stats = ActionStats(2)
    stats.set(torch.tensor([3.0, 0.0]), torch.tensor([0.0, 1e-9]))
    assert stats.scale(torch.tensor([3.5, 0.25])).tolist() == [0.5, 0.25]


def test_bad_statistics_and_widths_are_refused():
    stats = ActionStats(2)
    with pytest.raises(ValueError, match="has 2 numbers"):
        stats.set(torch.zeros(3), torch.ones(3))
    with pytest.raises(ValueError, match="must be finite"):
        stats.set(torch.zeros(2), torch.tensor([1.0, float("nan")]))
    with pytest.raises(ValueError, match="actions are 3 wide"):
        stats.scale(torch.zeros(1, 3))


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8])
def test_whole_numbers_are_scaled_as_such(dtype):
    stats = ActionStats(2)
    stats.set(torch.tensor([0.6, 3.0]), torch.tensor([0.58, 2.0]))
    actions = torch.tensor([[3, 1, 0, 2]])
    torch.testing.assert_close(stats.scale(actions.to(dtype)), stats.scale(actions.float()))
