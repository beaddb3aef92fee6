"""Starts are what the model encodes of recorded moments, with the actions that led there."""

import numpy as np
import pytest
import torch

from tests.data.made_episodes import SPEC, made_store
from tests.imagination.dreams import dreaming
from worldjepa.imagination import Starts


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return made_store(tmp_path_factory.mktemp("store"), [9, 4, 1, 7])


def test_starts_are_encoded_moments_with_what_led_to_them(store):
    """In the made episodes an action tells its episode and step, so every start can be found again."""
    model = dreaming(dtype=torch.float32)
    starts = Starts.recorded(model, store, count=20, history=2)
    assert len(starts) == 20 and starts.action == SPEC.action and starts.proprioception is None
    places = set()
    assert starts.past_actions is not None
    for latents, actions in zip(starts.latents, starts.past_actions, strict=True):
        step = round(-100 * float(actions[0, 1]))
        episode = round(float(actions[0, 0]) - step / 100)
        frames = torch.from_numpy(store.read(episode, [step, step + 2], step, step + 4).frames)
        expected = model.encode(torch.nn.functional.interpolate(frames.float() / 255, (16, 24))[None])
        assert expected.shape == latents[None].shape
        np.testing.assert_array_equal(actions.reshape(2, 2), store.read(episode, [], step, step + 2).actions)
        places.add((episode, step))
    # a block has to follow: not of the episodes shorter than two blocks, and no moment at the end
    assert {episode for episode, _ in places} == {0, 1, 3}
    assert all(step + 4 <= store.lengths[episode] for episode, step in places)


def test_latents_are_those_of_encode(tmp_path):
    """At the size of the recording nothing is resized, and each latent has to be one that encode gives."""
    model = dreaming(dtype=torch.float32)
    model.image_size = 8
    model.encoder.to(torch.float32)
    store = made_store(tmp_path / "made", [6])
    starts = Starts.recorded(model, store, count=5, history=1)
    crops = torch.from_numpy(store.read(0, range(7), 0, 6).frames)[..., 2:10]
    known = torch.cat([model.encode(crop[None, None]) for crop in crops]).detach()[:, 0]
    gaps = (starts.latents[:, :1] - known[None]).abs().amax(dim=(2, 3))
    assert starts.past_actions is None
    assert gaps.min(dim=1).values.max() < 1e-5
    assert set(gaps.argmin(dim=1).tolist()) == {0, 1, 2, 3, 4}  # each once; 5 and 6 have no block after them


def test_draws_are_seeded_and_more_than_there_are(store):
    model = dreaming(dtype=torch.float32)
    first, again, other = (Starts.recorded(model, store, count=70, seed=seed) for seed in (0, 0, 1))
    assert len(first) == 70
    assert torch.equal(first.latents, again.latents) and not torch.equal(first.latents, other.latents)


def test_a_state_of_the_model_begins_there(store):
    model = dreaming(dtype=torch.float32)
    starts = Starts.recorded(model, store, count=6, history=2)
    state = starts.begin(model, torch.tensor([4, 1]))
    rows = [4, 1]
    assert starts.past_actions is not None
    expected = model.start(starts.latents[rows], past_actions=starts.past_actions[rows])
    assert torch.equal(state.pending, expected.pending) and torch.equal(
        state.pending, starts.latents[rows, -1]
    )
    read, again = state.past[0], expected.past[0]
    assert read is not None and again is not None and torch.equal(read.keys, again.keys)


def test_proprioception_is_kept_where_the_model_reads_it(store):
    model = dreaming(dtype=torch.float32, proprioception_dim=3)
    starts = Starts.recorded(model, store, count=6, history=2)
    measured = starts.proprioception
    assert measured is not None and measured.shape == (6, 2, 3)
    steps = measured[:, :, 0]
    assert torch.equal(steps[:, 1] - steps[:, 0], torch.full((6,), 2.0))
    begun = starts.begin(model, torch.tensor([3])).proprioception
    assert begun is not None and torch.equal(begun, measured[[3], -1])


def test_what_does_not_fit_is_refused(store):
    model = dreaming(dtype=torch.float32)
    with pytest.raises(ValueError, match="count=0"):
        Starts.recorded(model, store, count=0)
    with pytest.raises(ValueError, match="training mode"):
        Starts.recorded(dreaming().train(), store)
    model.action_block = 1
    with pytest.raises(ValueError, match="blocks of 1 steps 2; the model reads 4"):
        Starts.recorded(model, store)
    with pytest.raises(ValueError, match="proprioception of 3 numbers; the model reads 5"):
        Starts.recorded(dreaming(proprioception_dim=5), store)
    with pytest.raises(ValueError, match=r"past_actions \[2 2 a\]"):
        Starts(torch.zeros(2, 3, 4, 12), SPEC.action, torch.zeros(2, 3, 4))
    with pytest.raises(ValueError, match="no starts"):
        Starts(torch.zeros(0, 3, 4, 12), SPEC.action)
