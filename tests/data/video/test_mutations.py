"""Damaged files in hundreds of ways: nothing crashes or hangs, and no damaged frame comes out unnoticed.

Some damage no one can notice: a bit that says something else, and as valid. How often is bounded here, as
measured with the thousand mutations of each file of the slow test: see ``SILENT``.
"""

from collections import Counter
from pathlib import Path

import pytest

from tests.data.mutations import KINDS, mutate, read_mutants

# the largest share of mutations after which a frame differs, though neither packet nor decoder tells
SILENT = {"h264": 0.02, "hevc": 0.25, "mpeg4": 0.03}
FILES = {
    "part_0.mp4": "h264",
    "spatiotemporal_det.mp4": "h264",
    "h265_video.mp4": "hevc",
    "test.avi": "mpeg4",
}


def check(path: Path, codec: str, numbers: range, folder: Path) -> Counter[str]:
    outcomes = read_mutants(path, numbers, folder)
    wrong = {name: count for name, count in outcomes.items() if name.startswith("wrong")}
    assert sum(wrong.values()) <= SILENT[codec] * len(numbers), (path.name, outcomes)
    assert outcomes["refused"] >= len(numbers) // 4, (path.name, outcomes)
    assert not outcomes["too slow"], (path.name, outcomes)
    return outcomes


@pytest.mark.parametrize(("name", "count"), [("part_0.mp4", 90), ("h265_video.mp4", 90)])
def test_damaged_real_clips(real_clips, tmp_path, name, count):
    check(real_clips / name, FILES[name], range(count), tmp_path)


@pytest.mark.parametrize(
    ("name", "codec"),
    [("h264.mp4", "h264"), ("h264.mkv", "h264"), ("transport.ts", "h264"), ("b_frames.avi", "mpeg4")],
)
def test_damaged_made_clips(made, tmp_path, name, codec):
    check(made[name], codec, range(45), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_damaged_real_clips_in_a_thousand_ways(real_clips, tmp_path, name):
    print(name, dict(check(real_clips / name, FILES[name], range(1000), tmp_path)))


def test_mutations_are_seeded_and_change_something():
    import numpy as np

    content = bytes(range(1, 251)) * 40
    for number, kind in enumerate(KINDS):
        one, other = (mutate(content, kind, np.random.default_rng(number)) for _ in range(2))
        assert one == other != content
