"""Windows: against slow references, one order for any number of workers and ranks."""

import dataclasses
import logging
from collections import Counter

import numpy as np
import pytest
import torch

from tests.data.made_episodes import SIZE, SPEC, made_episode, made_frames, made_store
from worldjepa.data.episodes.store import EpisodeStore, TornEpisodeError
from worldjepa.data.episodes.windows import WindowSampling, ordered_windows, window_loader

STEP = WindowSampling(num_frames=3, action_block=2)
PAIR = WindowSampling(num_frames=6, frames_per_step=2, action_block=4)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Episodes of 12, 3, 5 and 40 steps, with square frames."""
    root = tmp_path_factory.mktemp("windows") / "store"
    store = EpisodeStore.create(root, dataclasses.replace(SPEC, frame_size=(8, 8)))
    for number, steps in enumerate([12, 3, 5, 40]):
        episode = made_episode(number, steps, terminated=number % 2 == 0)
        store.append(dataclasses.replace(episode, frames=made_frames(number, steps + 1, (8, 8))))
    return EpisodeStore.open(root)


def draw(store, ids=(0, 1, 2, 3), steps=4, *, sampling=STEP, size=8, batch_size=4, seed=0, **settings):
    with window_loader(
        store,
        ids,
        sampling=sampling,
        size=size,
        batch_size=batch_size,
        seed=seed,
        last_step=steps,
        **settings,
    ) as loader:
        return list(loader)


def shown(batch) -> list[list[tuple[int, int]]]:
    """Return the (episode, observation) that each frame says it shows."""
    return [[(int(e), int(i)) for e, i, _ in row] for row in batch.frames[:, :, :, 0, 0]]


def place(path: str) -> tuple[int, int]:
    episode, start = path.removeprefix("episode ").split(" @ ")
    return int(episode), int(start)


@pytest.mark.parametrize(
    ("sampling", "start", "wanted"),
    [
        (WindowSampling(3, 1, 5), 7, [7, 12, 17]),
        (WindowSampling(1), 3, [3]),
        (WindowSampling(4, 2, 2), 6, [5, 6, 7, 8]),
        (WindowSampling(4, 2, 4), 6, [4, 6, 8, 10]),
        (WindowSampling(4, 2, 4), 0, [0, 0, 2, 4]),
        (WindowSampling(4, 2, 4), 1, [0, 1, 3, 5]),
        (WindowSampling(6, 3, 6), 2, [0, 0, 2, 4, 6, 8]),
    ],
)
def test_frames_end_at_the_latent_step_and_begin_with_the_first_observation(sampling, start, wanted):
    assert sampling.frame_ids(start) == wanted


@pytest.mark.parametrize("sampling", [STEP, PAIR, WindowSampling(2, 2, 2), WindowSampling(6, 1, 1)])
def test_a_window_is_what_a_slow_reference_cuts_out(store, sampling):
    k, t = sampling.action_block, sampling.num_steps
    for batch in draw(store, (0, 3), sampling=sampling, steps=8):
        assert batch.actions is not None and batch.rewards is not None and batch.terminated is not None
        assert batch.proprioception is not None and batch.state is not None
        assert batch.frames.shape == (4, sampling.num_frames, 3, 8, 8)
        assert batch.actions.shape == (4, t - 1, 2 * k)
        for row, path in enumerate(batch.paths):
            number, start = place(path)
            whole = made_episode(number, {0: 12, 3: 40}[number], terminated=number % 2 == 0)
            frames = made_frames(number, len(whole.rewards) + 1, (8, 8))
            for i in range(t):
                at = start + i * k
                for j in range(sampling.frames_per_step):
                    back = (sampling.frames_per_step - 1 - j) * k // sampling.frames_per_step
                    picture = batch.frames[row, i * sampling.frames_per_step + j].permute(1, 2, 0)
                    np.testing.assert_array_equal(picture, frames[max(0, at - back)])
                numbers = {"proprioception": [at, 10 * at, number], "state": [at, number]}
                assert batch.proprioception[row, i].tolist() == numbers["proprioception"]
                assert batch.state[row, i].tolist() == numbers["state"]
                if i == t - 1:
                    continue
                steps = range(at, at + k)
                blocks = np.concatenate([whole.actions[s] for s in steps])
                np.testing.assert_array_equal(batch.actions[row, i], blocks)
                assert batch.rewards[row, i] == sum(whole.rewards[s] for s in steps)
                last = len(whole.rewards) - 1
                assert bool(batch.terminated[row, i]) == (whole.terminated and last in steps)


def test_every_window_comes_once_an_epoch_and_the_order_changes(store):
    total = (12 - 4 + 1) + (5 - 4 + 1) + (40 - 4 + 1)
    batches = draw(store, steps=2 * total // 4, batch_size=4)
    places = [place(path) for batch in batches for path in batch.paths]
    wanted = {(0, s) for s in range(9)} | {(2, s) for s in range(2)} | {(3, s) for s in range(37)}
    assert set(Counter(places[:total])) == wanted and len(wanted) == total == 48
    assert set(Counter(places[total:])) == wanted
    assert places[:total] != places[total:]
    assert shown(batches[0]) == [[(e, s), (e, s + 2), (e, s + 4)] for e, s in places[:4]]


@pytest.mark.filterwarnings("ignore:This DataLoader will create 4 worker")
def test_the_order_is_the_same_for_any_workers_ranks_and_restarts(store):
    def rows(batches):
        return [tuple(map(torch.Tensor.tolist, (b.frames, b.actions, b.state))) + (b.paths,) for b in batches]

    whole = draw(store, steps=6)
    for workers in (1, 4):
        assert rows(draw(store, steps=6, num_workers=workers)) == rows(whole)
    assert rows(draw(store, steps=6, first_step=4)) == rows(whole[4:])
    for world_size in (2, 4):
        ranks = [draw(store, steps=6, rank=rank, world_size=world_size) for rank in range(world_size)]
        for step, batch in enumerate(whole):
            assert sum((rank[step].paths for rank in ranks), ()) == batch.paths
            assert torch.equal(torch.cat([rank[step].frames for rank in ranks]), batch.frames)
    assert rows(draw(store, steps=6, seed=1)) != rows(whole)


def test_ordered_windows_are_all_there_are(store):
    with ordered_windows(store, [2, 0], sampling=STEP, size=8, batch_size=3, stride=3) as loader:
        batches = list(loader)
    assert [batch.paths for batch in batches] == [
        ("episode 2 @ 0", "episode 0 @ 0", "episode 0 @ 3"),
        ("episode 0 @ 6",),
    ]
    assert shown(batches[1]) == [[(0, 6), (0, 8), (0, 10)]]
    with pytest.raises(ValueError, match="stride=0"):
        ordered_windows(store, [0], sampling=STEP, size=8, batch_size=3, stride=0)


def test_short_episodes_are_left_out_and_named(store, caplog):
    with caplog.at_level(logging.WARNING):
        batches = draw(store, (0, 1, 2, 3), sampling=WindowSampling(3, 1, 5))
    assert (
        "2 of 4 episodes are left out, shorter than the 10 environment steps of a window (1, 2)"
        in caplog.text
    )
    assert {place(path)[0] for batch in batches for path in batch.paths} <= {0, 3}
    with pytest.raises(
        ValueError, match="a window takes 100 environment steps, the longest of 2 episodes has 12"
    ):
        draw(store, (0, 1), sampling=WindowSampling(3, 1, 50))
    with pytest.raises(ValueError, match="has episodes 0 to 3"):
        draw(store, (0, 4))


def test_frames_are_brought_to_the_training_size(tmp_path):
    store = EpisodeStore.create(tmp_path / "store", dataclasses.replace(SPEC, frame_size=(16, 24)))
    frames = np.zeros((6, 16, 24, 3), np.uint8)
    frames[:, :, 4:20] = np.kron(np.random.default_rng(0).integers(0, 256, (8, 8, 1)), np.ones((2, 2, 3)))
    store.append(dataclasses.replace(made_episode(0, 5), frames=frames))
    (batch,) = draw(store, (0,), 1, sampling=WindowSampling(2, 1, 2), size=8, batch_size=1)
    wanted = torch.nn.functional.interpolate(
        torch.from_numpy(frames[:1]).permute(0, 3, 1, 2).float(), (8, 12), mode="bilinear", antialias=True
    )[:, :, :, 2:10]
    assert batch.frames.shape == (1, 2, 3, 8, 8)
    np.testing.assert_allclose(batch.frames[0, :1].float(), wanted, atol=1)


def test_what_the_episodes_lack_the_batch_lacks(tmp_path):
    spec = dataclasses.replace(SPEC, proprioception_dim=0, state_names=())
    store = EpisodeStore.create(tmp_path / "store", spec)
    store.append(dataclasses.replace(made_episode(0, 6), proprioception=None, state=None))
    (batch,) = draw(store, (0,), 1)
    assert batch.proprioception is None and batch.state is None and batch.labels is None


@pytest.mark.parametrize("workers", [0, 1])
def test_a_file_that_is_damaged_meanwhile_is_named(tmp_path, workers):
    store = made_store(tmp_path / "store", [9])
    (store.root / "episodes" / "episode_000000.safetensors").write_bytes(b"gone")
    with pytest.raises(TornEpisodeError, match="episode_000000"):
        draw(store, (0,), size=SIZE[0], num_workers=workers)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ((5, 2, 2), "data.num_frames=5: a latent step has 2 frames"),
        ((4, 2, 5), "model.action_block=5: the 2 frames of a latent step have to lie a whole number"),
        ((0, 1, 1), "num_frames=0: expected 1 or more"),
        ((2, 1, 0), "action_block=0: expected 1 or more"),
    ],
)
def test_samplings_of_no_sense_are_refused(values, said):
    with pytest.raises(ValueError, match=said):
        WindowSampling(*values)


def test_settings_of_no_sense_are_refused(store):
    with pytest.raises(ValueError, match="expected a multiple of 3"):
        draw(store, world_size=3)
    with pytest.raises(ValueError, match=r"no camera 'hand' in .* it has pixels"):
        draw(store, camera="hand")
    with pytest.raises(ValueError, match=r"data\.size=0"):
        draw(store, size=0)
