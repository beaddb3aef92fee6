"""Clip cuts against cases worked out by hand."""

import numpy as np
import pytest

from worldjepa.data.clips.sampling import ClipSampling

AT_30 = np.arange(90) / 30.0


def test_frame_skip():
    cut = ClipSampling(num_frames=4, frame_skip=3)
    times = np.arange(20) / 25.0
    # the clip spans 10 frames, so it may start at 0 .. 10
    assert cut.indices(times, 0.0) == [0, 3, 6, 9]
    assert cut.indices(times, 0.5) == [5, 8, 11, 14]
    assert cut.indices(times, 0.999) == cut.indices(times, 1.0) == [10, 13, 16, 19]
    starts = [cut.indices(times, u)[0] for u in np.linspace(0, 1, 1101, endpoint=False)]
    assert set(np.bincount(starts, minlength=11)) <= {100, 101}


def test_fps_at_a_divisor_of_the_rate():
    cut = ClipSampling(num_frames=4, fps=10)
    assert cut.indices(AT_30, 0.0) == [0, 3, 6, 9]
    assert cut.indices(AT_30, 1.0) == [80, 83, 86, 89]
    assert cut.indices(AT_30) == [40, 43, 46, 49]


def test_fps_between_frames_takes_the_frame_on_show():
    # at 4 fps in 30 fps: 0.25 s is in the middle of frame 7 (0.2333 .. 0.2667), 0.5 s begins frame 15
    assert ClipSampling(num_frames=4, fps=4).indices(AT_30, 0.0) == [0, 7, 15, 22]


def test_a_slow_source_repeats_frames():
    assert ClipSampling(num_frames=6, fps=4).indices(np.arange(10) / 2.0, 0.0) == [0, 0, 1, 1, 2, 2]


def test_variable_frame_rate_goes_by_time():
    times = np.array([0.0, 0.01, 0.02, 0.5, 1.0, 1.01, 2.0, 3.0])
    assert ClipSampling(num_frames=4, fps=1).indices(times, 0.0) == [0, 4, 6, 7]
    assert ClipSampling(num_frames=3, fps=2).indices(times, 0.0) == [0, 3, 4]


def test_rounded_timestamps_neither_skip_nor_repeat():
    """Matroska rounds to milliseconds: 30 fps becomes 0, 33, 67, 100 ..."""
    times = np.round(np.arange(300) / 30.0, 3)
    cut = ClipSampling(num_frames=100, fps=30)
    for position in np.linspace(0, 1, 23):
        ids = cut.indices(times, float(position))
        assert ids == list(range(ids[0], ids[0] + 100))


def test_timestamps_may_begin_anywhere():
    for offset in (-1.5, 7.25):
        assert ClipSampling(num_frames=4, fps=10).indices(AT_30 + offset, 0.5) == [40, 43, 46, 49]


@pytest.mark.parametrize("position", [0.0, 0.5, 1.0])
def test_short_videos(position):
    times = np.arange(3) / 10.0
    assert ClipSampling(6, fps=10).indices(times, position) == [0, 1, 2, 2, 2, 2]
    assert ClipSampling(6, frame_skip=1).indices(times, position) == [0, 1, 2, 2, 2, 2]
    assert ClipSampling(6, fps=10, short_clips="loop").indices(times, position) == [0, 1, 2, 0, 1, 2]
    assert ClipSampling(6, fps=5, short_clips="loop").indices(times, position) == [0, 2, 1, 0, 2, 1]
    assert ClipSampling(6, frame_skip=2, short_clips="loop").indices(times, position) == [0, 2, 1, 0, 2, 1]
    assert ClipSampling(3, fps=4).indices(np.zeros(1), position) == [0, 0, 0]


def test_one_frame_needs_no_rate():
    assert ClipSampling(1).indices(np.zeros(1)) == [0]
    assert ClipSampling(1).indices(np.arange(9) / 3.0) == [4]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"num_frames": 0}, "num_frames=0"),
        ({"num_frames": 2}, "one of data.fps and data.frame_skip"),
        ({"num_frames": 2, "fps": 4.0, "frame_skip": 2}, "one of data.fps and data.frame_skip"),
        ({"num_frames": 2, "fps": -1.0}, "fps=-1.0"),
        ({"num_frames": 2, "frame_skip": 0}, "frame_skip=0"),
        ({"num_frames": 2, "fps": 4.0, "short_clips": "pad"}, "repeat_last"),
    ],
)
def test_settings_that_make_no_sense(settings, said):
    with pytest.raises(ValueError, match=said):
        ClipSampling(**settings)
