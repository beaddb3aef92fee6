"""The reader that tries others: only where one does not support a file; what is bad is bad."""

import pytest
import torch

from tests.data.made_clips import make_video, numbers
from worldjepa.data import BadVideoError, UnsupportedVideoError, open_reader, read_clip
from worldjepa.data.video import reader as readers


class Refusing:
    """A reader that supports nothing."""

    def __init__(self, index=None, deadline=None):
        self.asked = 0

    def probe(self, path):
        self.asked += 1
        raise UnsupportedVideoError(f"{path}: not with me")

    def read(self, path, indices, size=None):
        self.asked += 1
        raise UnsupportedVideoError(f"{path}: not with me")


def test_auto_reads_as_pyav_does(tmp_path):
    path = make_video(tmp_path / "a.mp4")
    assert torch.equal(read_clip(path, [5, 3], size=20, reader="auto"), read_clip(path, [5, 3], size=20))
    info = open_reader("auto").probe(path)
    assert (info.num_frames, info.height, info.width) == (24, 48, 128)


def test_auto_goes_on_to_the_next_reader(tmp_path, monkeypatch):
    """From one that refuses, over one that is not installed, to one that can."""
    path = make_video(tmp_path / "a.mp4")
    monkeypatch.setitem(readers.READERS, "pyav", (__name__, "Refusing"))
    monkeypatch.setitem(readers.READERS, "torchcodec", ("worldjepa.data.video.no_such_module", "Reader"))
    assert numbers(read_clip(path, [7, 2], reader="auto")) == [7, 2]
    with pytest.raises(UnsupportedVideoError, match="not with me"):
        read_clip(path, [7, 2], reader="pyav")
    monkeypatch.setitem(readers.READERS, "decord", (__name__, "Refusing"))
    with pytest.raises(UnsupportedVideoError, match=r"a\.mp4: not with me$"):
        read_clip(path, [7, 2], reader="auto")


def test_a_bad_file_is_final(tmp_path, monkeypatch):
    monkeypatch.setitem(readers.READERS, "torchcodec", ("no_such_module", "asked"))
    monkeypatch.setitem(readers.READERS, "decord", (__name__, "no_such_class"))
    (tmp_path / "bad.mp4").write_bytes(b"nothing")
    with pytest.raises(BadVideoError):
        read_clip(tmp_path / "bad.mp4", [0], reader="auto")
