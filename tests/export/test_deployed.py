"""The step of plain tensors says what the world model's own says."""

import pytest
import torch

from tests.model.worlds import inputs, world
from worldjepa.export.deployed import Step
from worldjepa.model.action_predictor import ActionPredictor


def deployed(model, history):
    assert isinstance(model.predictor, ActionPredictor)
    return Step(model, model.predictor, history).double()


def walk(model, history, latents, actions, measured=None):
    """Feed a context and then predictions through the deployed step; return the predictions [b l p d]."""
    step, t = deployed(model, history), latents.shape[1]
    keys, values, position = step.beginning(len(latents))
    found = []
    for i in range(actions.shape[1]):
        latent = latents[:, i] if i < t else found[-1]
        given = [] if measured is None else [measured[:, i]]
        predicted, keys, values, position = step(latent, actions[:, i], keys, values, position, *given)
        found.append(predicted)
    return torch.stack(found[t - 1 :], dim=1)


@pytest.mark.parametrize(
    ("settings", "history"),
    [
        ({}, 7),
        ({"window": 3}, 2),
        ({"window": 1}, 0),
        ({"conditioning": "tokens"}, 7),
        ({"rope": "vjepa2"}, 7),
    ],
)
@torch.no_grad()
def test_a_context_and_a_rollout_equal_the_models(settings, history):
    model = world(**settings)
    latents, candidates, past = inputs(model, s=1)
    expected = model.rollout(latents, candidates[:, 0], past_actions=past)
    found = walk(model, history, latents, torch.cat([past, candidates[:, 0]], dim=1))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


@torch.no_grad()
def test_measurements_go_in_and_what_was_not_measured_is_nan():
    model = world(proprioception_dim=3)
    latents, candidates, past = inputs(model, s=1)
    measured = torch.randn(2, 3, 3, dtype=torch.float64)
    measured[1, 2] = torch.nan
    expected = model.rollout(latents, candidates[:, 0], past_actions=past, proprioception=measured)
    given = torch.cat([measured, torch.full((2, 4, 3), torch.nan, dtype=torch.float64)], dim=1)
    found = walk(model, 7, latents, torch.cat([past, candidates[:, 0]], dim=1), given)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


@torch.no_grad()
def test_a_row_at_position_0_begins_anew_whatever_was_kept_and_rows_may_differ():
    model = world()
    latents, candidates, _ = inputs(model, b=3, s=1, t=1, horizon=1)
    step = deployed(model, 2)
    keys, values, _ = step.beginning(3)
    junk, position = torch.randn_like(keys), torch.tensor([0, 1, 2])
    mixed = step(latents[:, 0], candidates[:, 0, 0], junk, junk, position)[0]
    alone = step(latents[:1, 0], candidates[:1, 0, 0], keys[:, :, :1], values[:, :, :1], position[:1])[0]
    torch.testing.assert_close(mixed[:1], alone, rtol=0, atol=1e-10)
    short = step(latents[1:2, 0], candidates[1:2, 0, 0], junk[:, :, 1:2], junk[:, :, 1:2], torch.tensor([1]))
    torch.testing.assert_close(mixed[1:2], short[0], rtol=0, atol=1e-10)
    assert (mixed[1] - step(latents[1:2, 0], candidates[1:2, 0, 0], junk[:, :, 1:2], junk[:, :, 1:2],
                            torch.tensor([2]))[0]).abs().max() > 1e-6  # fmt: skip


@torch.no_grad()
def test_beyond_its_history_it_sees_the_last_steps_alone():
    """With room for one earlier step it is the predictor whose window is two, in its first layer."""
    model = world(depth=1)
    windowed = world(depth=1, window=2)
    latents, candidates, past = inputs(model, s=1)
    expected = windowed.rollout(latents, candidates[:, 0], past_actions=past)
    found = walk(model, 1, latents, torch.cat([past, candidates[:, 0]], dim=1))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)
