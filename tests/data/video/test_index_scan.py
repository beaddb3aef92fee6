"""A scan looks at new files only, says what is there, and goes on where it was killed."""

from pathlib import Path

import pytest

from tests.data.made_clips import make_audio, make_video
from worldjepa.data.job_pool import Lost
from worldjepa.data.video import index_scan
from worldjepa.data.video.index import VideoIndex
from worldjepa.data.video.index_report import report_on
from worldjepa.data.video.index_scan import scan_files
from worldjepa.data.video.reader_pyav import examine


@pytest.fixture
def paths(tmp_path) -> list[str]:
    """Three videos of two kinds, sound only, a web page, an empty file and one that is not there."""
    root = tmp_path / "videos"
    root.mkdir()
    made = [make_video(root / f"{i}.mp4", count=10 + i) for i in range(2)]
    made += [make_video(root / "3.mkv", count=30, rate=10), make_audio(root / "4.mp4")]
    for name, text in (("5.mp4", "<html>" * 9), ("6.mp4", "<html>" * 99), ("7.mp4", "")):
        (root / name).write_text(text)
    return [*(str(path) for path in made), *(str(root / f"{n}.mp4") for n in (5, 6, 7, 8))]


@pytest.fixture
def here(monkeypatch) -> list[str]:
    """Do the jobs in this process; return what was looked at."""
    looked: list[str] = []

    def run(function, jobs, **_):
        for path in jobs:
            looked.append(path)
            yield examine(path)

    monkeypatch.setattr(index_scan, "run_jobs", run)
    return looked


def scan(index: VideoIndex, paths: list[str]):
    return scan_files(paths, index, processes=1, timeout_s=60)


def test_the_report_says_what_is_there(paths, here, tmp_path):
    with VideoIndex(tmp_path / "index.sqlite", tmp_path / "videos") as index:
        report = report_on(paths, index, scan(index, paths))
    assert (report.files, report.good, report.frames) == (8, 3, 10 + 11 + 30)
    assert report.codecs == {"h264": 3} and report.sizes == {"128x48": 3}
    assert report.rates == {"25": 2, "10": 1}
    assert report.hours == pytest.approx((21 / 25 + 3) / 3600)
    assert report.bytes == sum(Path(path).stat().st_size for path in paths[:6])
    assert {Path(path).name for path in report.bad} == {"4.mp4", "5.mp4", "6.mp4", "7.mp4", "8.mp4"}
    assert report.reasons["has no video stream"] == 1
    assert sorted(report.reasons.values()) == [1, 1, 1, 2], "the two pages count together"
    assert report.as_dict()["codecs"] == {"h264": 3}


def test_only_what_is_new_or_changed_is_looked_at(paths, here, tmp_path):
    with VideoIndex(tmp_path / "index.sqlite", tmp_path / "videos") as index:
        scan(index, paths)
        assert here == paths[:6]
        here.clear()
        scan(index, paths)
        assert here == []
        make_video(Path(paths[1]), count=17)
        scan(index, paths)
        assert here == [paths[1]]
        assert report_on(paths, index, {}).frames == 10 + 17 + 30


@pytest.mark.parametrize("killed_after", [0, 2, 5])
def test_a_scan_that_was_killed_goes_on_to_the_same_result(paths, here, tmp_path, killed_after, monkeypatch):
    class Killed(BaseException):
        pass

    def stop(done):
        if done == killed_after + 2:  # two files are done by not being there
            raise Killed

    monkeypatch.setattr(index_scan, "_BATCH", 1)
    with VideoIndex(tmp_path / "whole.sqlite", tmp_path / "videos") as index:
        whole = report_on(paths, index, scan(index, paths))
    here.clear()
    with VideoIndex(tmp_path / "part.sqlite", tmp_path / "videos") as index, pytest.raises(Killed):
        scan_files(paths, index, processes=1, timeout_s=60, progress=stop)
    with VideoIndex(tmp_path / "part.sqlite", tmp_path / "videos") as index:
        assert report_on(paths, index, scan(index, paths)) == whole
    assert here == paths[:6], "each file was looked at once"


def test_a_file_that_kills_or_stops_its_reader_is_bad(paths, tmp_path, monkeypatch):
    lost = Lost("the process that read it died of SIGSEGV")
    monkeypatch.setattr(index_scan, "run_jobs", lambda function, jobs, **_: [lost] * len(jobs))
    with VideoIndex(tmp_path / "index.sqlite", tmp_path / "videos") as index:
        report = report_on(paths[:2], index, scan(index, paths[:2]))
    assert report.good == 0 and report.reasons == {lost.reason: 2}
