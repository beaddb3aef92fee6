"""What the table of the prepared store is made of: clips, quality, means; and one small run of it."""

import json

import numpy as np
import pytest
import torch

from benchmarks.prepared_store import PLAIN, PUBLIC, STORE, VIEW, geometric_mean, main, psnr, total
from benchmarks.videos import draw_clip
from tests.data.made_clips import make_video


def test_clips_start_anywhere_and_repeat_the_last_frame():
    rng = np.random.default_rng(0)
    starts = {draw_clip(70, rng)[0] for _ in range(400)}
    assert starts == set(range(10)), "the last clip of 70 frames begins at 9 and ends at 69"
    assert draw_clip(5, rng) == [0, 4] + 14 * [4]
    assert draw_clip(61, rng) == list(range(0, 61, 4))


def test_quality_is_the_error_against_full_scale():
    one = torch.zeros(1, 3, 4, 4, dtype=torch.uint8)
    assert psnr(one, one + 255) == pytest.approx(0)
    assert psnr(one, one + 16) == pytest.approx(20 * np.log10(255 / 16))


def test_means_are_over_files_and_bytes_over_all():
    rows = {
        "a": {STORE: {"times_decord": (1, 2, 3), "bytes": 30, "psnr": 30.0}, "source_bytes": 100},
        "b": {STORE: {"times_decord": (1, 8, 9), "bytes": 20, "psnr": 40.0}, "source_bytes": 400},
    }
    assert geometric_mean(rows, STORE) == pytest.approx(4)
    assert total(rows, STORE) == (pytest.approx(50 / 500), pytest.approx(35))


def test_a_folder_is_measured(tmp_path, monkeypatch, capsys):
    from worldjepa.data.video import store_writer
    from worldjepa.data.video.store_encoder import store_video

    monkeypatch.setattr(store_writer, "run_jobs", lambda function, jobs, **_: map(store_video, jobs))
    videos = tmp_path / "videos"
    videos.mkdir()
    make_video(videos / "a.mp4", count=24)
    (videos / "bad.mp4").write_text("<html>")
    assert main([str(videos), "--rounds", "2", "--out", str(tmp_path / "table")]) == 0
    found = json.loads((tmp_path / "table.json").read_text())["cases"]["files"]
    assert list(found) == ["a.mp4"]
    assert set(found["a.mp4"]) >= {PUBLIC, PLAIN, STORE, VIEW, "frames", "source_bytes"}
    assert found["a.mp4"][PUBLIC]["times_decord"] == [1, 1, 1] and found["a.mp4"][VIEW]["psnr"] > 100
    assert str(videos) not in capsys.readouterr().out, "the table names no folder of this machine"
