"""The store: what goes in comes out, whole or not at all, and torn files harm nobody."""

import dataclasses
import json
import logging
import os
import pickle
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.data.made_episodes import SIZE, SPEC, made_episode, made_frames, made_store
from worldjepa.data.episodes import episode_file
from worldjepa.data.episodes import store as episodes
from worldjepa.data.episodes.store import (
    EpisodeSpec,
    EpisodeStore,
    TornEpisodeError,
    action_statistics,
    open_episodes,
    split_episodes,
)


def file_of(store: EpisodeStore, number: int):
    return store.root / "episodes" / f"episode_{number:06d}.safetensors"


def test_what_goes_in_comes_out(tmp_path):
    store = made_store(tmp_path / "store", [5, 3, 9])
    assert store.spec == SPEC
    assert store.lengths.tolist() == [5, 3, 9]
    assert store.seeds == (1000, 1001, 1002)
    assert store.successes == (True, False, True)
    for number, steps in enumerate([5, 3, 9]):
        wanted = made_episode(number, steps)
        found = store.read(number, range(steps + 1), 0, steps)
        np.testing.assert_array_equal(found.frames, np.moveaxis(np.asarray(wanted.frames), -1, 1))
        np.testing.assert_array_equal(found.actions, wanted.actions)
        np.testing.assert_array_equal(found.rewards, wanted.rewards)
        np.testing.assert_array_equal(found.proprioception, wanted.proprioception)
        np.testing.assert_array_equal(found.state, wanted.state)
        assert found.terminated.tolist() == [False] * (steps - 1) + [number % 2 == 0]


def test_an_excerpt_is_what_was_asked_for(tmp_path):
    store = made_store(tmp_path / "store", [9, 9])
    out = np.zeros((3, 3, *SIZE), np.uint8)
    found = store.read(1, [7, 0, 7], 2, 6, None, out)
    assert found.frames is out
    assert out[:, :, 0, 0].tolist() == [[1, 7, 7], [1, 0, 7], [1, 7, 7]]
    assert found.rewards.tolist() == [2, 3, 4, 5]
    assert found.state is not None
    assert found.state[:, 0].tolist() == [2, 3, 4, 5, 6]
    assert not found.terminated.any()
    assert store.read(0, [], 8, 9).terminated.tolist() == [True]
    assert store.read(0, [3], 4, 4).actions.shape == (0, 2)


def test_several_cameras(tmp_path):
    spec = dataclasses.replace(SPEC, cameras=("front", "hand"))
    store = EpisodeStore.create(tmp_path / "store", spec)
    frames = {"hand": made_frames(2, 4), "front": made_frames(1, 4)}
    store.append(dataclasses.replace(made_episode(0, 3), frames=frames))
    for camera, number in ((None, 1), ("front", 1), ("hand", 2)):
        assert store.read(0, [2], 0, 0, camera).frames[0, :, 0, 0].tolist() == [number, 2, 7]
    with pytest.raises(ValueError, match=r"no camera 'wrist' .* it has front, hand"):
        store.read(0, [2], 0, 0, "wrist")


def test_a_file_is_plain_safetensors(tmp_path):
    store = made_store(tmp_path / "store", [4])
    found = load_file(file_of(store, 0))
    np.testing.assert_array_equal(found["actions"], made_episode(0, 4).actions)
    assert found["frames.pixels.offsets"].shape == (6,)


def test_appending_goes_on_where_it_ended(tmp_path):
    made_store(tmp_path / "store", [4, 4])
    again = EpisodeStore.open(tmp_path / "store")
    assert again.append(made_episode(2, 6)) == 2
    assert again.lengths.tolist() == [4, 4, 6]
    assert EpisodeStore.open(tmp_path / "store").lengths.tolist() == [4, 4, 6]


@pytest.mark.parametrize("damage", ["cut", "empty", "foreign", "gone"])
def test_a_torn_file_is_an_episode_of_no_length(tmp_path, caplog, damage):
    store = made_store(tmp_path / "store", [4, 5, 6])
    path = file_of(store, 1)
    content = path.read_bytes()
    damaged = {"cut": content[:-3], "empty": b"", "foreign": b"PK" * 500}
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(damaged[damage])
    with caplog.at_level(logging.WARNING):
        again = EpisodeStore.open(store.root)
    assert again.lengths.tolist() == [4, 0, 6]
    assert again.seeds == (1000, None, 1002)
    assert again.read(2, [3], 0, 1).frames[0, :, 0, 0].tolist() == [2, 3, 7]
    assert split_episodes(again) == ([0], [2])
    if damage != "gone":
        assert list(again.torn) == [1]
        assert "passing over episode 1" in caplog.text
    assert again.append(made_episode(3, 2)) == 3
    with pytest.raises(ValueError, match="episode 1 has 0 steps"):
        again.read(1, [], 0, 1)


def test_other_files_in_the_folder_are_passed_over(tmp_path, caplog):
    store = made_store(tmp_path / "store", [4])
    (store.root / "episodes" / "notes.txt").write_text("mine")
    (store.root / "episodes" / ".episode_000001.safetensors.staging").write_bytes(b"half")
    with caplog.at_level(logging.WARNING):
        assert EpisodeStore.open(store.root).lengths.tolist() == [4]
    assert "notes.txt" in caplog.text
    assert "staging" not in caplog.text


def test_a_damaged_header_of_the_same_size_is_found_when_read(tmp_path):
    store = made_store(tmp_path / "store", [4])
    path = file_of(store, 0)
    path.write_bytes(b"\xff" * 8 + path.read_bytes()[8:])
    with pytest.raises(TornEpisodeError, match=r"episode_000000\.safetensors is no whole episode"):
        EpisodeStore.open(store.root).read(0, [0], 0, 0)


def test_a_damaged_frame_names_the_file(tmp_path):
    store = made_store(tmp_path / "store", [4])
    path = file_of(store, 0)
    place = load_file(path)["frames.pixels"].tobytes()
    content = bytearray(path.read_bytes())
    at = content.index(place)
    content[at : at + 200] = b"\xff" * 200
    path.write_bytes(content)
    with pytest.raises(TornEpisodeError, match=r"episode_000000\.safetensors: frames\.pixels is damaged"):
        EpisodeStore.open(store.root).read(0, [0], 0, 0)


@pytest.mark.parametrize("state", ["gone", "torn line", "of other sizes", "no text"])
def test_the_index_is_only_a_cache(tmp_path, state):
    store = made_store(tmp_path / "store", [4, 5, 6])
    index = store.root / "index.jsonl"
    lines = index.read_text().splitlines()
    assert [json.loads(line)["steps"] for line in lines] == [4, 5, 6]
    if state == "gone":
        index.unlink()
    elif state == "torn line":
        index.write_text("\n".join(lines[:2]) + "\n" + lines[2][:9])
    elif state == "of other sizes":
        index.write_text("\n".join(line.replace('"bytes": ', '"bytes": 1') for line in lines) + "\n")
    else:
        index.write_bytes(b"\xff\xfe\x00")
    assert EpisodeStore.open(store.root).lengths.tolist() == [4, 5, 6]
    assert index.read_text().splitlines() == lines


def test_opening_reads_the_index_not_the_files(tmp_path, monkeypatch):
    store = made_store(tmp_path / "store", [4, 5])

    def refuse(path):
        raise AssertionError(path)

    monkeypatch.setattr(episodes, "EpisodeFile", refuse)
    assert EpisodeStore.open(store.root).lengths.tolist() == [4, 5]


def test_a_killed_writer_leaves_whole_episodes(tmp_path):
    program = (
        "from tests.data.made_episodes import made_episode, SPEC\n"
        "from worldjepa.data.episodes.store import EpisodeStore\n"
        f"store = EpisodeStore.create({str(tmp_path / 'store')!r}, SPEC)\n"
        "while True: store.append(made_episode(1, 30))\n"
    )
    writer = subprocess.Popen([sys.executable, "-c", program], cwd=os.getcwd())
    folder = tmp_path / "store" / "episodes"
    until = time.monotonic() + 60
    while time.monotonic() < until and (not folder.is_dir() or len(list(folder.iterdir())) < 10):
        time.sleep(0.01)
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    store = EpisodeStore.open(tmp_path / "store")
    assert len(store.lengths) >= 9
    assert set(store.lengths) == {30}
    assert not store.torn
    store.append(made_episode(2, 5))
    assert EpisodeStore.open(tmp_path / "store").lengths[-1] == 5


def test_few_files_stay_mapped(tmp_path, monkeypatch):
    monkeypatch.setattr(episodes, "MAX_MAPPED", 2)
    store = made_store(tmp_path / "store", [3] * 5)
    for number in (0, 1, 2, 3, 4, 0):
        assert store.read(number, [1], 0, 0).frames[0, 0, 0, 0] == number
    assert len(store._known) == 2
    copy = pickle.loads(pickle.dumps(store))
    assert not copy._known
    assert copy.read(3, [1], 0, 0).frames[0, 0, 0, 0] == 3


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"frames": made_frames(0, 4)}, r"expected uint8 frames of shape \(5, 8, 12, 3\)"),
        ({"frames": made_frames(0, 5).astype(np.float32)}, "got float32"),
        ({"frames": {"other": made_frames(0, 5)}}, r"cameras \['pixels'\], got \['other'\]"),
        ({"actions": np.zeros((4, 3), np.float32)}, r"shape \(4, 2\) for actions, got float32 \(4, 3\)"),
        ({"actions": np.zeros((0, 2), np.float32)}, "at least one step"),
        ({"rewards": np.full(4, np.nan, np.float32)}, "rewards holds values that are not finite"),
        ({"rewards": np.full(4, 1e300)}, "not finite in float32"),
        ({"state": None}, r"shape \(5, 2\) for state"),
        ({"proprioception": np.zeros((4, 3))}, r"shape \(5, 3\) for proprioception"),
    ],
)
def test_an_episode_that_does_not_fit_is_refused(tmp_path, change, said):
    store = EpisodeStore.create(tmp_path / "store", SPEC)
    with pytest.raises(ValueError, match=said):
        store.append(dataclasses.replace(made_episode(0, 4), **change))
    assert not list((store.root / "episodes").iterdir())


def test_excerpts_outside_an_episode_are_refused(tmp_path):
    store = made_store(tmp_path / "store", [4])
    for call, said in (
        ((1, [0], 0, 1), "has episodes 0 to 0, there is no 1"),
        ((0, [5], 0, 1), "observations 0 to 4, asked for"),
        ((0, [-1], 0, 1), "observations 0 to 4, asked for"),
        ((0, [0], 2, 5), "has 4 steps; steps 2 to 4 lie outside"),
    ):
        with pytest.raises(ValueError, match=said):
            store.read(*call)


def test_stores_that_are_none_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no episodes found in"):
        open_episodes(tmp_path)
    with pytest.raises(ValueError, match="holds no episode store of ours"):
        EpisodeStore.open(tmp_path)
    store = made_store(tmp_path / "store", [2])
    assert isinstance(open_episodes(store.root), EpisodeStore)
    with pytest.raises(ValueError, match="holds an episode store already"):
        EpisodeStore.create(store.root, SPEC)
    values = json.loads((store.root / "store.json").read_text())
    (store.root / "store.json").write_text(json.dumps(values | {"format": 2}))
    with pytest.raises(ValueError, match="has format 2; this version of worldjepa reads format 1"):
        EpisodeStore.open(store.root)
    with pytest.raises(ValueError, match="does not describe episodes"):
        EpisodeSpec.from_dict({"env_id": "x"})
    with pytest.raises(ValueError, match="cameras of different names"):
        EpisodeStore.create(tmp_path / "other", dataclasses.replace(SPEC, cameras=("a", "a")))


def test_every_tenth_episode_is_held_out(tmp_path):
    store = made_store(tmp_path / "store", [2] * 21)
    train, held = split_episodes(store)
    assert held == [9, 19]
    assert sorted(train + held) == list(range(21))
    assert split_episodes(made_store(tmp_path / "few", [2] * 3)) == ([0, 1], [2])
    assert split_episodes(made_store(tmp_path / "one", [2])) == ([0], [])


def test_action_statistics_are_those_of_all_steps(tmp_path):
    store = made_store(tmp_path / "store", [3, 8, 5])
    actions = np.concatenate([made_episode(0, 3).actions, made_episode(2, 5).actions])
    mean, deviation = action_statistics(store, [0, 2])
    np.testing.assert_allclose(mean, actions.mean(0), rtol=1e-5)
    np.testing.assert_allclose(deviation, actions.std(0), rtol=1e-5)
    with pytest.raises(ValueError, match="no steps in the 0 episodes"):
        action_statistics(store, [])


def test_frames_of_few_colours_are_stored_small(tmp_path):
    path = tmp_path / "episode.safetensors"
    frames = np.full((100, 3, 64, 64), 255, np.uint8)
    frames[:, :, 20:30, 20:30] = 0
    size = episode_file.write_episode_file(path, {}, {"frames": frames}, {})
    assert size == path.stat().st_size < frames.nbytes / 30
    np.testing.assert_array_equal(episode_file.EpisodeFile(path).images("frames", [0, 99]), frames[[0, 99]])


@pytest.mark.slow
def test_ten_thousand_episodes_open_quickly(tmp_path):
    store = made_store(tmp_path / "store", [1])
    content, line = file_of(store, 0).read_bytes(), json.loads((store.root / "index.jsonl").read_text())
    for number in range(10_000):
        file_of(store, number).write_bytes(content)
    lines = (json.dumps(line | {"episode": number}) for number in range(10_000))
    (store.root / "index.jsonl").write_text("\n".join(lines) + "\n")
    began = time.process_time()
    assert len(EpisodeStore.open(store.root).lengths) == 10_000
    assert time.process_time() - began < 1.0
