"""Rollout errors: computed by hand, and telling a model that uses its actions from one that does not."""

import pytest
import torch

from tests.model.worlds import world
from worldjepa.evaluation.rollouts import RolledOut, roll_out
from worldjepa.types import Batch


def test_errors_are_shares_of_the_variance():
    latents = torch.tensor([[0.0, 1.0, 2.0], [0.0, -1.0, -2.0]]).view(2, 3, 1, 1)
    predicted = torch.tensor([[1.0, 1.0], [-1.0, -1.0]]).view(2, 2, 1, 1)
    rolled = RolledOut(1, latents, predicted, torch.zeros(2, 2, 1, 1))
    errors = rolled.errors()  # the variance of 0, 1, 2, 0, -1, -2 is 10/6
    assert errors.predicted == pytest.approx((0.0, 0.6))
    assert errors.copied == pytest.approx((0.6, 2.4))
    assert errors.shuffled == pytest.approx((0.6, 2.4))
    assert (errors.context, errors.windows) == (1, 2)


def test_windows_are_rolled_out_under_their_actions_and_anothers():
    model = world(dtype=torch.float32)
    generator = torch.Generator().manual_seed(0)
    frames = torch.randint(0, 256, (3, 5, 3, 16, 16), generator=generator, dtype=torch.uint8)
    actions = torch.randn(3, 4, 4, generator=generator)
    rolled = roll_out(model, [Batch(frames, actions=actions)], context=2)
    latents = model.encode(frames)
    expected = model.rollout(latents[:, :2], actions[:, 1:], past_actions=actions[:, :1])
    torch.testing.assert_close(rolled.predicted, expected, atol=1e-5, rtol=0)
    other = model.rollout(latents[:, :2], actions[[2, 0, 1], 1:], past_actions=actions[:, :1])
    torch.testing.assert_close(rolled.shuffled, other, atol=1e-5, rtol=0)
    assert rolled.state is None


def test_windows_no_longer_than_the_context_are_refused():
    batch = Batch(torch.zeros(1, 2, 3, 16, 16, dtype=torch.uint8), actions=torch.zeros(1, 1, 4))
    with pytest.raises(ValueError, match="more than the 2 given"):
        roll_out(world(dtype=torch.float32), [batch], context=2)
    with pytest.raises(ValueError, match="no window"):
        roll_out(world(dtype=torch.float32), [], context=1)


def test_a_window_that_is_alone_takes_actions_of_another_batch_or_none():
    model = world(dtype=torch.float32)
    generator = torch.Generator().manual_seed(0)
    frames = torch.randint(0, 256, (3, 3, 3, 16, 16), generator=generator, dtype=torch.uint8)
    actions = torch.randn(3, 2, 4, generator=generator)
    parts = [Batch(frames[part], actions=actions[part]) for part in (slice(0, 2), slice(2, 3))]
    rolled = roll_out(model, parts, context=1)
    expected = model.rollout(model.encode(frames)[:, :1], actions[[1, 0, 1]])
    torch.testing.assert_close(rolled.shuffled, expected, atol=1e-5, rtol=0)
    alone = roll_out(model, parts[1:], context=1)
    assert alone.shuffled is None and alone.errors().shuffled is None
