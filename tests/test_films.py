"""Films as H.264 in mp4."""

import io
from pathlib import Path

import av
import numpy as np
import pytest

from worldjepa.data.video.reader import read_clip
from worldjepa.films import write_mp4

GREYS = [np.full((32, 48, 3), 40 + 50 * index, np.uint8) for index in range(4)]


def test_frames_come_back_in_order(tmp_path: Path):
    write_mp4(tmp_path / "film.mp4", GREYS, fps=4)
    clip = read_clip(tmp_path / "film.mp4", indices=range(4))
    assert clip.shape == (4, 3, 32, 48)
    np.testing.assert_allclose(clip.float().mean(dim=(1, 2, 3)).numpy(), [40, 90, 140, 190], atol=2)


def test_what_browsers_play():
    file = io.BytesIO()
    write_mp4(file, GREYS, fps=4)
    with av.open(io.BytesIO(file.getvalue())) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt, stream.average_rate) == ("h264", "yuv420p", 4)
        assert stream.codec_context.width == 48


def test_odd_sides_lose_a_line_and_empty_films_are_refused(tmp_path: Path):
    odd = np.zeros((33, 49, 3), np.uint8)
    write_mp4(tmp_path / "odd.mp4", [odd], fps=1)
    assert read_clip(tmp_path / "odd.mp4", indices=[0]).shape == (1, 3, 32, 48)
    with pytest.raises(ValueError, match="a frame or more"):
        write_mp4(io.BytesIO(), [], fps=1)
    with pytest.raises(ValueError, match="2 x 2 pixels"):
        write_mp4(io.BytesIO(), [np.zeros((1, 4, 3), np.uint8)], fps=1)
