"""Rollouts step by step: equal to ``rollout``, pure, and rows may be observed or begin anew on the way."""

import pytest
import torch

from tests.model.worlds import CONDITIONS, inputs, world


@CONDITIONS
@pytest.mark.parametrize("window", [None, 1, 3])
def test_start_and_step_equal_rollout_and_are_pure(conditioning, window):
    model = world(conditioning=conditioning, window=window)
    latents, actions, past = inputs(model, horizon=6)
    copies = [x.clone() for x in (latents, actions, past)]
    future = model.rollout(latents, actions[:, 0], past_actions=past)
    state = first = model.start(latents, past_actions=past)
    for index in range(6):
        state, latent = model.step(state, actions[:, 0, index])
        torch.testing.assert_close(latent, future[:, index], atol=1e-10, rtol=0)
    again, latent = model.step(first, actions[:, 0, 0])
    torch.testing.assert_close(latent, future[:, 0], atol=1e-10, rtol=0)
    assert again.position == 3
    for argument, copy in zip((latents, actions, past), copies, strict=True):
        assert torch.equal(argument, copy)


def test_a_context_read_once_serves_any_number_of_rollouts():
    model = world(window=3)
    latents, actions, past = inputs(model)
    state = model.start(latents, past_actions=past)
    for candidates in (actions, actions.flip(1), actions[:, 0]):
        expected = model.rollout(latents, candidates, past_actions=past)
        torch.testing.assert_close(model.futures(state, candidates), expected, atol=1e-12, rtol=0)


@CONDITIONS
def test_observe_puts_an_observation_in_place_of_a_prediction(conditioning):
    model = world(conditioning=conditioning)
    latents, actions, past = inputs(model, t=3)
    seen = inputs(model, t=1, seed=7)[0][:, 0]
    state, _ = model.step(model.start(latents, past_actions=past), actions[:, 0, 0])
    _, latent = model.step(model.observe(state, seen), actions[:, 0, 1])
    whole = torch.cat([latents, seen.unsqueeze(1)], dim=1)
    taken = torch.cat([past, actions[:, 0, :1]], dim=1)
    expected = model.rollout(whole, actions[:, 0, 1:2], past_actions=taken)
    torch.testing.assert_close(latent, expected[:, 0], atol=1e-10, rtol=0)


@CONDITIONS
@pytest.mark.parametrize("window", [None, 2, 4])
@pytest.mark.parametrize("t", [1, 3, 5])
def test_restarted_rows_equal_fresh_ones_and_others_go_on(conditioning, window, t):
    model = world(conditioning=conditioning, window=window)
    latents, actions, past = inputs(model, b=4, t=3)
    state = model.start(latents, past_actions=past)
    for index in range(2):
        state, _ = model.step(state, actions[:, 0, index])
    fresh = inputs(model, b=2, t=t, seed=9)[0]
    rows = torch.tensor([3, 1])
    begun = model.restart(state, rows, fresh)
    anew = model.start(fresh)
    for index in range(2, 5):
        action = actions[:, 0, index]
        state, on = model.step(state, action)
        anew, new = model.step(anew, action[rows])
        begun, latent = model.step(begun, action)
        torch.testing.assert_close(latent[rows], new, atol=1e-10, rtol=0)
        torch.testing.assert_close(latent[[0, 2]], on[[0, 2]], atol=1e-10, rtol=0)


def test_restarts_keep_only_what_some_row_still_needs():
    """And read the actions of the new contexts."""
    model = world(window=None)
    latents, actions, past = inputs(model, b=2, t=3)
    assert model.predictor is not None
    tokens = model.predictor.step_tokens
    state = model.start(latents, past_actions=past)
    for number in range(6):
        rows = torch.tensor([number % 2])
        state = model.restart(state, rows, latents[rows], past_actions=past[rows])
        assert state.past[0] is not None
        assert state.past[0].keys.shape[2] <= 3 * tokens
        anew = model.start(latents[rows], past_actions=past[rows])
        _, expected = model.step(anew, actions[rows, 0, 0])
        state, latent = model.step(state, actions[:, 0, 0])
        torch.testing.assert_close(latent[rows], expected, atol=1e-10, rtol=0)


def test_a_window_keeps_no_more_than_it_sees():
    model = world(window=3)
    latents, actions, _ = inputs(model, t=5, horizon=1)
    state = model.start(latents)
    for _ in range(4):
        assert {layer.keys.shape[2] for layer in state.past if layer is not None} == {2 * 4}
        state, _ = model.step(state, actions[:, 0, 0])


def test_imagine_is_a_closed_loop():
    model = world()
    latents, _, _ = inputs(model)
    weight = torch.randn(12, 4, dtype=torch.float64)
    policy = lambda latent: torch.tanh(latent.mean(dim=1) @ weight)  # noqa: E731
    dream = model.imagine(latents, policy, horizon=4)
    torch.testing.assert_close(dream.actions[:, 0], policy(latents[:, -1]))
    torch.testing.assert_close(dream.actions[:, 2], policy(dream.latents[:, 1]))
    torch.testing.assert_close(dream.latents, model.rollout(latents, dream.actions), atol=1e-10, rtol=0)
    assert dream.heads == {}


def test_a_restart_of_no_rows_changes_nothing_and_lengths_may_be_of_any_whole_dtype():
    model = world()
    latents, actions, _ = inputs(model)
    state = model.start(latents, lengths=torch.tensor([2, 3], dtype=torch.int32))
    assert model.restart(state, torch.zeros(2, dtype=torch.bool).nonzero()[:, 0], latents[:0]) is state
    again = model.restart(state, torch.tensor([0]), latents[:1])
    expected = model.rollout(latents, actions)[0]
    torch.testing.assert_close(model.futures(again, actions)[0], expected, atol=1e-10, rtol=0)


def test_what_was_measured_has_to_fit_the_rows():
    model = world(proprioception_dim=3)
    latents = inputs(model)[0]
    state = model.start(latents)
    for measured in (torch.zeros(1, 3), torch.zeros(2, 7)):
        with pytest.raises(ValueError, match=r"proprioception must be \[b q\] = \(2, 3\)"):
            model.observe(state, latents[:, 0], measured)
    blind = world()
    with pytest.raises(ValueError, match="trained without it"):
        blind.observe(blind.start(latents), latents[:, 0], torch.zeros(2, 3))
