"""The index: what it keeps comes back as it was, and what it cannot keep is said in one line."""

import os
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from tests.data.made_clips import make_video
from worldjepa.data.video import index_memory, reader_pyav
from worldjepa.data.video.index import IndexFileError, VideoIndex, index_lock, index_path
from worldjepa.data.video.index_memory import IndexMemory
from worldjepa.data.video.reader import BadVideoError, UnsupportedVideoError, file_key
from worldjepa.data.video.reader_pyav import PyavReader, examine
from worldjepa.data.video.timeline import Timeline


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """Three good files of different kinds and a bad one."""
    folder = tmp_path_factory.mktemp("videos")
    make_video(folder / "plain.mp4", count=20)
    make_video(folder / "turned.mp4", count=5, rotation=90)
    make_video(folder / "packed.avi", count=12, codec="mpeg4")
    (folder / "page.mp4").write_text("<html>" * 30)
    return folder


@pytest.fixture
def index(root, tmp_path):
    with VideoIndex(tmp_path / "index.sqlite", root) as opened:
        yield opened


def same(one: Timeline, other: Timeline) -> bool:
    return all(
        np.array_equal(value, vars(other)[name]) and type(value) is type(vars(other)[name])
        for name, value in vars(one).items()
    )


def test_what_was_found_comes_back_as_it_was(root, index):
    for path in sorted(root.iterdir()):
        key = file_key(path)
        assert index.get(key) is None
        found, lasting = examine(path)
        assert lasting
        index.put([(key, found)])
        again = index.get(key)
        assert same(found, again) if isinstance(found, Timeline) else str(found) == str(again)
    assert isinstance(again := index.get(file_key(root / "page.mp4")), BadVideoError), again


def test_rows_say_what_the_files_are(root, index):
    for path in root.iterdir():
        index.put([(file_key(path), examine(path)[0])])
    rows = dict(index.rows())
    assert list(rows) == [b"packed.avi", b"page.mp4", b"plain.mp4", b"turned.mp4"]
    plain, turned = rows[b"plain.mp4"], rows[b"turned.mp4"]
    assert (plain.codec, plain.frames, plain.rate) == ("h264", 20, pytest.approx(25))
    assert (plain.height, plain.width, plain.keyframes) == (48, 128, 3)
    assert plain.seconds == pytest.approx(20 / 25)
    assert (turned.height, turned.width) == (128, 48)
    assert rows[b"page.mp4"].verdict == "bad" and rows[b"page.mp4"].frames == 0
    assert rows[b"packed.avi"].codec == "mpeg4"


def test_a_changed_file_and_another_place_are_told_apart(root, index, tmp_path):
    path, (name, size, time) = root / "plain.mp4", file_key(root / "plain.mp4")
    index.put([((name, size, time), examine(path)[0])])
    assert index.get((name, size, time + 1)) is None and index.get((name, size + 1, time)) is None
    with VideoIndex(index.path, tmp_path) as moved:  # the corpus was moved: names count from its root
        assert moved.get((str(tmp_path / "plain.mp4"), size, time)) is not None


def test_verdicts_keep_their_kind(index, root):
    key = (str(root / "other.mp4"), 5, 6)
    index.put([(key, UnsupportedVideoError(f"{key[0]}: no decoder for it"))])
    found = index.get(key)
    assert isinstance(found, UnsupportedVideoError) and str(found) == f"{key[0]}: no decoder for it"


def test_names_that_are_not_utf8_are_kept(root, index):
    path = os.fsdecode(os.fsencode(root) + b"/\xff.mp4")
    index.put([((path, 1, 2), BadVideoError("x"))])
    assert index.get((path, 1, 2)) is not None and b"\xff.mp4" in dict(index.rows())


def test_rows_of_another_version_are_dropped(root, tmp_path):
    path, key = tmp_path / "index.sqlite", file_key(root / "plain.mp4")
    with VideoIndex(path, root) as index:
        index.put([(key, examine(root / "plain.mp4")[0])])
    with sqlite3.connect(path) as db:
        db.execute("UPDATE about SET value='0' WHERE fact='version'")
    db.close()
    with VideoIndex(path, root, writable=False) as index:
        assert not index.usable
    with VideoIndex(path, root) as index:
        assert index.usable and index.get(key) is None


def test_what_is_wrong_with_the_file_is_said_in_one_line(root, tmp_path):
    damaged, other = tmp_path / "damaged.sqlite", tmp_path / "other.sqlite"
    damaged.write_bytes(b"nonsense" * 1000)
    with sqlite3.connect(other) as db:
        db.execute("CREATE TABLE mine (a)")
    db.close()
    nowhere = root / "plain.mp4" / "index.sqlite"
    for path, said in ((damaged, "damaged or no index"), (other, "something else"), (nowhere, "cannot be")):
        with pytest.raises(IndexFileError, match=said) as refused:
            VideoIndex(path, root)
        assert "\n" not in str(refused.value) and "data.index=FILE" in str(refused.value)


def test_a_second_scan_is_kept_out(tmp_path):
    path = tmp_path / "index.sqlite"
    with (
        index_lock(path),
        pytest.raises(IndexFileError, match="extended by another process"),
        index_lock(path),
    ):
        pass
    with index_lock(path):
        pass


def test_the_place_depends_on_the_root_and_links_lead_to_the_same(root, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "link").symlink_to(root)
    assert index_path(root) == index_path(tmp_path / "link") != index_path(tmp_path)
    assert index_path(root).parent == tmp_path / "worldjepa"
    assert index_path(root, "/a/b") == Path("/a/b")


# --- as training uses it --------------------------------------------------------------------------


def test_a_reader_asks_the_index_first_and_tells_it_after(root, tmp_path, monkeypatch):
    path = tmp_path / "index.sqlite"
    first = IndexMemory(path, root)
    reader = PyavReader(index=first)
    timeline = reader.timeline(root / "plain.mp4")
    with pytest.raises(BadVideoError) as verdict:
        reader.timeline(root / "page.mp4")
    first.flush()
    monkeypatch.setattr(reader_pyav, "read_timeline", lambda *_: pytest.fail("was looked at again"))
    again = PyavReader(index=IndexMemory(path, root))
    assert same(again.timeline(root / "plain.mp4"), timeline)
    with pytest.raises(BadVideoError, match=str(verdict.value).partition(": ")[2]):
        again.timeline(root / "page.mp4")


def test_training_goes_on_without_an_index_and_says_so_once(root, tmp_path, caplog):
    damaged = tmp_path / "damaged.sqlite"
    damaged.write_bytes(b"nonsense" * 1000)
    memory = IndexMemory(damaged, root)
    assert PyavReader(index=memory).probe(root / "plain.mp4").num_frames == 20
    memory.flush()
    assert len(caplog.records) == 1 and "training goes on without" in caplog.text
    assert damaged.read_bytes() == b"nonsense" * 1000


def test_an_index_that_cannot_be_written_is_still_read(root, tmp_path, monkeypatch, caplog):
    path, key = tmp_path / "index.sqlite", file_key(root / "plain.mp4")
    with VideoIndex(path, root) as index:
        index.put([(key, examine(root / "plain.mp4")[0])])
    before = path.read_bytes()

    def read_only(path, root, *, writable=True):
        if writable:
            raise IndexFileError(f"{path} cannot be read and written (attempt to write a readonly database)")
        return VideoIndex(path, root, writable=False)

    monkeypatch.setattr(index_memory, "VideoIndex", read_only)
    memory = IndexMemory(path, root)
    assert len(caplog.records) == 1 and "it is read, but not extended" in caplog.text
    assert isinstance(memory.get(key), Timeline)
    memory.put(file_key(root / "turned.mp4"), BadVideoError("x"))
    memory.flush()
    assert path.read_bytes() == before and len(caplog.records) == 1


def test_writers_take_turns_and_an_error_leaves_no_lock(root, tmp_path):
    path, key = tmp_path / "index.sqlite", (str(root / "x.mp4"), 1, 2)
    with VideoIndex(path, root) as one, VideoIndex(path, root) as other:
        with pytest.raises(OverflowError):
            one.put([((key[0], 2**70, 2), BadVideoError("more than an integer of SQLite holds"))])
        other.put([(key, BadVideoError("fine"))])
        assert str(one.get(key)) == f"{key[0]}: fine"


def test_an_index_that_breaks_on_the_way_is_left_alone(root, tmp_path):
    path = tmp_path / "index.sqlite"
    memory = IndexMemory(path, root)
    path.write_bytes(b"nonsense" * 1000)
    reader = PyavReader(index=memory)
    assert reader.probe(root / "plain.mp4").num_frames == 20
    memory.flush()
    assert reader.probe(root / "turned.mp4").num_frames == 5
