"""The table of the whole loader, run once on a few tiny videos."""

import json

from benchmarks.loader import KINDS, STAGES, main
from tests.data.made_clips import make_video
from worldjepa.data.video import store_writer
from worldjepa.data.video.store_encoder import store_video


def test_a_folder_is_measured(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(store_writer, "run_jobs", lambda function, jobs, **_: map(store_video, jobs))
    videos = tmp_path / "videos"
    videos.mkdir()
    for number in range(2):
        make_video(videos / f"{number}.mp4", count=20)
    command = [str(videos), "--workers", "0", "1", "--rounds", "2", "--batches", "1"]
    assert main([*command, "--out", str(tmp_path / "table")]) == 0
    found = json.loads((tmp_path / "table.json").read_text())["cases"]
    assert set(found["speeds"]) == {"0", "1"} and set(found["stages"]) == set(KINDS)
    assert all(len(found["speeds"]["1"][kind]) == 2 for kind in KINDS)
    assert all(found["stages"][kind][stage] > 0 for kind in KINDS for stage in STAGES)
    said = capsys.readouterr().out
    assert "python -m benchmarks.loader /videos --workers 0 1" in said and str(videos) not in said
