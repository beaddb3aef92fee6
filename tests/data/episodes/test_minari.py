"""Minari datasets, written by the minari package in each of its formats, are read as they are."""

import json
import pickle
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, Text

from worldjepa.data.episodes.minari import MinariEpisodes
from worldjepa.data.episodes.store import open_episodes
from worldjepa.data.episodes.windows import WindowSampling, ordered_windows

minari = pytest.importorskip("minari")
EpisodeBuffer: Any = minari.data_collector.EpisodeBuffer  # whose annotations name lists only

STEPS = (6, 4)
IMAGE = Box(0, 255, (32, 40, 3), np.uint8)


def pictures(episode: int, size=(32, 40, 3)) -> np.ndarray:
    """Return smooth frames, which JPEG keeps: brightness by observation, colour by episode."""
    frames = np.zeros((STEPS[episode] + 1, *size), np.uint8)
    frames[:] = (20 * np.arange(len(frames))).reshape(-1, *[1] * len(size))
    frames[:, : size[0] // 2] += np.uint8(50 * (episode + 1))
    return frames


def written(tmp_path, data_format: str, *, observations, space, action_space=None, actions=None, jpeg=False):
    """Write a dataset with minari; return its folder."""
    from minari.dataset.minari_storage import MinariStorage

    root = tmp_path / "made-v0"
    (root / "data").mkdir(parents=True)
    action_space = action_space or Box(-1, 1, (2,), np.float32)
    storage = MinariStorage.new(
        root / "data", space, action_space, data_format=data_format, jpeg_encoding=jpeg
    )
    for episode, steps in enumerate(STEPS):
        i = np.arange(steps)
        storage.update_episodes(
            [
                EpisodeBuffer(
                    id=episode,
                    seed=100 + episode,
                    observations=observations(episode),
                    actions=np.stack([i / 10, -i / 10], 1).astype(np.float32)
                    if actions is None
                    else actions(i),
                    rewards=[float(r) for r in i],
                    terminations=[bool(episode == 0 and r == steps - 1) for r in i],
                    truncations=[bool(episode == 1 and r == steps - 1) for r in i],
                )
            ]
        )
    storage.update_metadata({"dataset_id": "made-v0", "minari_version": "0.5.3"})
    return root


def mixed(episode: int) -> dict:
    i = np.arange(STEPS[episode] + 1, dtype=np.float64)
    return {
        "front": pictures(episode),
        "hand": 255 - pictures(episode),
        "observation": np.stack([i, 2 * i], axis=1).astype(np.float32),
        "speed": 3 * i[:, None],
        "desired_goal": np.zeros((len(i), 2), np.float32),
        "mission": ["go"] * len(i),
    }


MIXED = Dict(
    front=IMAGE,
    hand=IMAGE,
    observation=Box(-np.inf, np.inf, (2,)),
    speed=Box(-9, 9, (1,), np.float64),
    desired_goal=Box(-1, 1, (2,)),
    mission=Text(5),
)


@pytest.mark.parametrize("jpeg", [False, True])
@pytest.mark.parametrize("data_format", ["hdf5", "arrow", "parquet"])
def test_each_format_is_read_as_it_is(tmp_path, data_format, jpeg):
    root = written(tmp_path, data_format, observations=mixed, space=MIXED, jpeg=jpeg)
    episodes = pickle.loads(pickle.dumps(open_episodes(root)))
    assert isinstance(episodes, MinariEpisodes)
    spec = episodes.spec
    assert (spec.env_id, spec.cameras, spec.frame_size) == ("made-v0", ("front", "hand"), (32, 40))
    assert (spec.action.low, spec.action.high) == ((-1, -1), (1, 1))
    assert episodes.lengths.tolist() == [6, 4]
    assert episodes.seeds == (100, 101)
    for episode, steps in enumerate(STEPS):
        found = episodes.read(episode, [steps, 0, 2, 2], 1, steps)
        wanted = np.moveaxis(pictures(episode), -1, 1)[[steps, 0, 2, 2]]
        np.testing.assert_allclose(found.frames.astype(int), wanted.astype(int), atol=4 if jpeg else 0)
        hand = episodes.read(episode, [1], 0, 0, "hand").frames[0]
        np.testing.assert_allclose(hand[:, 20], np.moveaxis(255 - pictures(episode), -1, 1)[1, :, 20], atol=4)
        i = np.arange(1, steps, dtype=np.float32)
        np.testing.assert_array_equal(found.actions, np.stack([i / 10, -i / 10], axis=1))
        np.testing.assert_array_equal(found.rewards, i)
        assert found.terminated.tolist() == [False] * (steps - 2) + [episode == 0]
        i = np.arange(1, steps + 1)
        order = [k for k in MIXED.spaces if k in ("observation", "speed")]
        parts = {"observation": np.stack([i, 2 * i], axis=1), "speed": 3 * i[:, None]}
        np.testing.assert_array_equal(found.proprioception, np.concatenate([parts[k] for k in order], axis=1))
        assert found.proprioception is not None and found.proprioception.dtype == np.float32


@pytest.mark.parametrize("data_format", ["hdf5", "arrow"])
def test_an_observation_that_is_the_image_and_choices(tmp_path, data_format):
    root = written(
        tmp_path,
        data_format,
        observations=lambda e: np.moveaxis(pictures(e), -1, 1),
        space=Box(0, 255, (3, 32, 40), np.uint8),
        action_space=Discrete(4, start=1),
        actions=lambda i: 1 + i % 4,
    )
    episodes = open_episodes(root)
    assert (episodes.spec.cameras, episodes.spec.frame_size) == (("pixels",), (32, 40))
    found = episodes.read(0, [3], 0, 6)
    np.testing.assert_array_equal(found.frames[0], np.moveaxis(pictures(0)[3], -1, 0))
    np.testing.assert_array_equal(found.actions, np.eye(4)[[0, 1, 2, 3, 0, 1]])
    assert found.proprioception is None
    with ordered_windows(
        episodes, [0], sampling=WindowSampling(2, 1, 3), size=16, batch_size=2, num_workers=1
    ) as loader:
        batch = next(loader)
    assert batch.frames.shape == (2, 2, 3, 16, 16)
    assert batch.actions is not None and batch.actions.shape == (2, 1, 12)


def test_grey_images_become_rgb(tmp_path):
    def grey(episode):
        return pictures(episode, (32, 40))

    root = written(tmp_path, "hdf5", observations=grey, space=Box(0, 255, (32, 40), np.uint8))
    frames = open_episodes(root).read(1, [2], 0, 0).frames
    np.testing.assert_array_equal(frames[0], np.broadcast_to(grey(1)[2], (3, 32, 40)))


def test_datasets_that_cannot_be_used_are_refused(tmp_path):
    def vector(e):
        return np.zeros((STEPS[e] + 1, 2), np.float32)

    root = written(tmp_path, "hdf5", observations=vector, space=Box(-1, 1, (2,)))
    with pytest.raises(ValueError, match="has no images among its observations"):
        open_episodes(root)
    path = root / "data" / "metadata.json"
    metadata = json.loads(path.read_text())
    image = minari.serialization.serialize_space(IMAGE)
    for values, said in (
        ({"observation_space": image, "data_format": "zarr"}, "data_format='zarr'; expected hdf5, arrow"),
        ({"observation_space": '{"type": "Graph"}'}, "spaces of type 'Graph' are not read"),
        ({"observation_space": image, "total_episodes": 3}, "cannot be read as Minari wrote it"),
    ):
        path.write_text(json.dumps(metadata | values))
        with pytest.raises(ValueError, match=said):
            open_episodes(root)
    path.write_text(json.dumps({"data_format": "hdf5"}))
    with pytest.raises(ValueError, match="lacks total_episodes, observation_space, action_space"):
        open_episodes(root)
    path.write_text(json.dumps(metadata | {"observation_space": image}))
    (root / "data" / "main_data.hdf5").write_bytes(b"torn")
    with pytest.raises(ValueError, match=r"main_data\.hdf5 cannot be read"):
        open_episodes(root)
    path.unlink()
    with pytest.raises(ValueError, match=r"no Minari dataset of version 0\.5 or later"):
        open_episodes(root)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_dataset_that_minari_made_of_an_environment(tmp_path, monkeypatch):
    """The whole of the package's own way: the environment's id is in the metadata, images are JPEG."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    env = gymnasium.make("worldjepa/Point-v0", image_size=32, max_episode_steps=5)
    frames = [env.reset(seed=3)[0]]
    actions = [np.array([0.1 * i, -0.1], np.float32) for i in range(4)]
    frames += [env.step(action)[0] for action in actions]
    flags = [False] * 4
    minari.create_dataset_from_buffers(
        "point/random-v0",
        [EpisodeBuffer(0, 3, None, np.stack(frames), np.stack(actions), [1.0] * 4, flags, flags)],
        env=env,
        data_format="hdf5",
    )
    episodes = open_episodes(tmp_path / "point" / "random-v0")
    assert episodes.spec.env_id == "worldjepa/Point-v0"
    assert episodes.spec.env_kwargs["image_size"] == 32
    assert (episodes.lengths.tolist(), episodes.seeds) == ([4], (3,))
    found = episodes.read(0, range(5), 0, 4)
    theirs = minari.load_dataset("point/random-v0")[0]
    np.testing.assert_array_equal(found.actions, theirs.actions)
    np.testing.assert_array_equal(found.frames, np.moveaxis(theirs.observations, -1, 1))
