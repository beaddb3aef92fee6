"""LeRobot v3 folders: what we write comes back, and folders with mp4 videos are read to the exact frame."""

import dataclasses
import json
import pickle
from pathlib import Path

import gymnasium
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.data.made_clips import HEIGHT, WIDTH, make_video, numbers
from tests.data.made_episodes import SIZE, SPEC, made_episode, made_frames, made_store
from worldjepa.data.episodes import lerobot_layout, lerobot_writer
from worldjepa.data.episodes.action_spec import action_spec
from worldjepa.data.episodes.lerobot import LeRobotEpisodes
from worldjepa.data.episodes.lerobot_writer import write_lerobot
from worldjepa.data.episodes.store import EpisodeStore, open_episodes
from worldjepa.data.episodes.windows import WindowSampling, ordered_windows

FPS = 10
LENGTHS = (7, 5, 6)  # rows


def same(one, other) -> None:
    for mine, theirs in zip(one, other, strict=True):
        assert (mine is None) == (theirs is None)
        if mine is not None:
            assert mine.dtype == theirs.dtype
            np.testing.assert_array_equal(mine, theirs)


def vectors(values: np.ndarray) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])


VIDEOS = {"front": [sum(LENGTHS)], "hand": [LENGTHS[0], LENGTHS[1] + LENGTHS[2]]}  # frames of each mp4
HAND = ((0, 0.0), (1, 0.0), (1, LENGTHS[1] / FPS))  # which mp4 an episode is in, and from when on


@pytest.fixture
def folder(tmp_path) -> Path:
    """Three episodes as LeRobot lays them out, in two data files.

    One camera has all of them in one mp4, the other has two mp4 files.
    """
    root = tmp_path / "dataset"
    for name in ("data/chunk-000", "meta/episodes/chunk-000"):
        (root / name).mkdir(parents=True)
    for number, ids in enumerate(([0], [1, 2])):
        table = pa.concat_tables([rows_of(episode) for episode in ids])
        pq.write_table(table, root / f"data/chunk-000/file-{number:03d}.parquet")
    for number, ids in enumerate(([0, 1], [2])):
        places = pa.Table.from_pylist([place_of(episode) for episode in ids])
        pq.write_table(places, root / f"meta/episodes/chunk-000/file-{number:03d}.parquet")
    for camera, lengths in VIDEOS.items():
        chunk = root / f"videos/observation.images.{camera}/chunk-000"
        chunk.mkdir(parents=True)
        for number, frames in enumerate(lengths):
            make_video(chunk / f"file-{number:03d}.mp4", frames, rate=FPS)
    (root / "meta/info.json").write_text(json.dumps(info()))
    stats = {"action": {"min": [0, -6, 0], "max": [6, 0, 2]}}
    (root / "meta/stats.json").write_text(json.dumps(stats))
    return root


def rows_of(episode: int) -> pa.Table:
    """Return the rows of an episode: row ``i`` has the action (i, -i, episode)."""
    rows = LENGTHS[episode]
    i = np.arange(rows)
    return pa.table(
        {
            "observation.state": vectors(np.stack([i, i + episode], axis=1).astype(np.float32)),
            "action": vectors(np.stack([i, -i, 0 * i + episode], axis=1).astype(np.float32)),
            "timestamp": pa.array((i / FPS).astype(np.float32)),
            "next.reward": pa.array(i.astype(np.float32)),
            "next.done": pa.array(i == rows - 2),
            "episode_index": pa.array(np.full(rows, episode)),
        }
    )


def place_of(episode: int) -> dict:
    """Return what ``meta/episodes`` says of an episode."""
    start = sum(LENGTHS[:episode])
    hand_file, hand_start = HAND[episode]
    return {
        "episode_index": episode,
        "length": LENGTHS[episode],
        "data/chunk_index": 0,
        "data/file_index": min(episode, 1),
        "dataset_from_index": start,
        "dataset_to_index": start + LENGTHS[episode],
        "videos/observation.images.front/chunk_index": 0,
        "videos/observation.images.front/file_index": 0,
        "videos/observation.images.front/from_timestamp": start / FPS,
        "videos/observation.images.hand/chunk_index": 0,
        "videos/observation.images.hand/file_index": hand_file,
        "videos/observation.images.hand/from_timestamp": hand_start,
        "stats/action/mean": [0.0, 0.0, 0.0],
    }


def info() -> dict:
    """Return what ``meta/info.json`` says."""
    video = {"dtype": "video", "shape": [HEIGHT, WIDTH, 3], "names": ["height", "width", "channels"]}
    return {
        "codebase_version": "v3.0",
        "robot_type": "so100",
        "fps": FPS,
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
        "features": {
            "observation.images.front": video,
            "observation.images.hand": video,
            "observation.images.depth": video | {"info": {"video.is_depth_map": True}},
            "observation.state": {"dtype": "float32", "shape": [2], "names": {"motors": ["a", "b"]}},
            "action": {"dtype": "float32", "shape": [3], "names": None},
        },
    }


def change(path: Path, **values) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_a_folder_with_videos_is_read_as_it_is(folder):
    episodes = open_episodes(folder)
    assert isinstance(episodes, LeRobotEpisodes)
    spec = episodes.spec
    assert (spec.env_id, spec.cameras, spec.fps) == ("so100", ("front", "hand"), 10.0)
    assert (spec.frame_size, spec.proprioception_dim) == ((HEIGHT, WIDTH), 2)
    assert (spec.action.low, spec.action.high) == ((0, -6, 0), (6, 0, 2))
    assert episodes.lengths.tolist() == [6, 4, 5]
    found = episodes.read(2, [5, 0, 0, 3], 1, 5)
    assert found.actions.tolist() == [[i, -i, 2] for i in range(1, 5)]
    assert found.rewards.tolist() == [1, 2, 3, 4]
    assert found.terminated.tolist() == [False, False, False, True]
    assert found.proprioception is not None
    assert found.proprioception.tolist() == [[i, i + 2] for i in range(1, 6)]
    assert found.state is None


@pytest.mark.parametrize(("camera", "first"), [(None, (0, 7, 12)), ("hand", (0, 0, 5))])
def test_video_frames_are_those_of_the_row(folder, camera, first):
    import torch

    episodes = pickle.loads(pickle.dumps(LeRobotEpisodes(folder)))
    for episode, rows in enumerate(LENGTHS):
        ids = [*range(rows), 2, 0]
        frames = episodes.read(episode, ids, 0, 0, camera).frames
        assert numbers(torch.from_numpy(frames)) == [first[episode] + i for i in ids]


def test_windows_of_videos(folder):
    sampling = WindowSampling(num_frames=2, action_block=2)
    with ordered_windows(
        LeRobotEpisodes(folder), [1], sampling=sampling, size=32, batch_size=8, camera="hand"
    ) as loader:
        (batch,) = loader
    assert batch.frames.shape == (3, 2, 3, 32, 32) and batch.actions is not None
    assert batch.actions[:, 0].tolist() == [[s, -s, 1, s + 1, -s - 1, 1] for s in range(3)]


@pytest.mark.parametrize(
    "space", [None, gymnasium.spaces.Discrete(3), gymnasium.spaces.MultiDiscrete([2, 4])]
)
def test_what_we_write_comes_back(tmp_path, monkeypatch, space):
    monkeypatch.setattr(lerobot_writer, "FILE_BYTES", 3000)  # several files
    spec = SPEC if space is None else dataclasses.replace(SPEC, action=action_spec(space))
    spec = dataclasses.replace(spec, cameras=("front", "hand"))
    store = EpisodeStore.create(tmp_path / "store", spec)
    for number, steps in enumerate([4, 7, 3, 5]):
        frames = {"front": made_frames(number, steps + 1), "hand": made_frames(50 + number, steps + 1)}
        episode = dataclasses.replace(made_episode(number, steps, terminated=number % 2 == 0), frames=frames)
        if space is not None:
            space.seed(number)
            choices = spec.action.from_env(np.stack([space.sample() for _ in range(steps)]))
            episode = dataclasses.replace(episode, actions=choices)
        store.append(episode)
    root = write_lerobot(store, tmp_path / "lerobot", [0, 1, 3])
    assert len(list((root / "data").glob("*/*.parquet"))) > 1
    episodes = open_episodes(root)
    assert episodes.spec == store.spec
    assert episodes.lengths.tolist() == [4, 7, 5]
    assert episodes.seeds == (1000, 1001, 1003)
    for mine, theirs in ((0, 0), (1, 1), (2, 3)):
        steps = int(store.lengths[theirs])
        for camera in ("front", "hand"):
            ids = [steps, 0, 2, 2]
            same(episodes.read(mine, ids, 1, steps, camera), store.read(theirs, ids, 1, steps, camera))
    out = np.zeros((1, 3, *SIZE), np.uint8)
    assert episodes.read(0, [1], 0, 0, None, out).frames is out
    (root / lerobot_layout.OURS).unlink()  # as others write it
    again = open_episodes(root)
    same(again.read(1, [2], 0, 7), store.read(1, [2], 0, 7)) if space is None else None
    assert again.spec.action.shape == ((2,) if space is None or space.shape else (1,))
    assert again.seeds == (None, None, None)


def test_statistics_are_written(tmp_path):
    store = made_store(tmp_path / "store", [4, 6])
    root = write_lerobot(store, tmp_path / "lerobot")
    stats = json.loads((root / "meta/stats.json").read_text())
    rows = [
        np.append(made_episode(e, n).actions, made_episode(e, n).actions[-1:], 0) for e, n in ((0, 4), (1, 6))
    ]
    np.testing.assert_allclose(stats["action"]["mean"], np.concatenate(rows).mean(0), rtol=1e-5)
    np.testing.assert_allclose(stats["action"]["std"], np.concatenate(rows).std(0), rtol=1e-5)
    pixels = np.concatenate([made_frames(0, 5), made_frames(1, 7)]) / 255
    image = stats["observation.images.pixels"]
    np.testing.assert_allclose(np.ravel(image["mean"]), pixels.mean((0, 1, 2)), rtol=1e-5)
    assert np.shape(image["min"]) == (3, 1, 1)
    with pytest.raises(ValueError, match="is not empty"):
        write_lerobot(store, root)
    with pytest.raises(ValueError, match="no episodes to write"):
        write_lerobot(store, tmp_path / "none", [])


def test_older_versions_and_other_kinds_are_refused(folder):
    path = folder / "meta/info.json"
    whole = info()
    for values, said in (
        ({"codebase_version": "v2.1"}, r"version v2\.1; expected v3\.x: convert it"),
        ({"features": {k: v for k, v in whole["features"].items() if k != "action"}}, "no feature 'action'"),
        ({"features": {"action": whole["features"]["action"]}}, "has no camera"),
    ):
        change(path, **values)
        with pytest.raises(ValueError, match=said):
            open_episodes(folder)
        path.write_text(json.dumps(whole))
    path.write_text(json.dumps({k: v for k, v in whole.items() if k != "fps"}))
    with pytest.raises(ValueError, match="lacks fps"):
        open_episodes(folder)
    path.write_text("{")
    with pytest.raises(ValueError, match=r"info\.json cannot be read"):
        open_episodes(folder)


def test_parts_that_are_missing_are_named(folder):
    features = info()["features"]
    wider = features | {"observation.environment_state": {"dtype": "float32", "shape": [1], "names": None}}
    change(folder / "meta/info.json", features=wider)
    with pytest.raises(ValueError, match=r"lacks the columns observation\.environment_state"):
        open_episodes(folder).read(0, [], 0, 1)
    change(folder / "meta/info.json", features=features)
    (folder / "data/chunk-000/file-000.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match=r"file-000\.parquet cannot be read"):
        open_episodes(folder).read(0, [], 0, 1)
    video = folder / "videos/observation.images.hand/chunk-000"
    (video / "file-000.mp4").replace(video / "file-001.mp4")  # it is shorter
    with pytest.raises(ValueError, match=r"shows nothing at 1\.000 s, where episode 2 has a row"):
        open_episodes(folder).read(2, [5], 0, 0, "hand")
    (folder / "meta/episodes/chunk-000/file-000.parquet").unlink()
    with pytest.raises(ValueError, match="does not list the episodes 0 to 0 once each"):
        open_episodes(folder)
