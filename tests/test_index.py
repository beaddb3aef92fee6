"""``python -m worldjepa.index``, as typed: what it says, and that it can be killed and started again."""

import json
import os
import shutil
import time
from pathlib import Path

import pytest

from tests.forks import Fork
from tests.runs import wait_for
from worldjepa.data.video.index import VideoIndex
from worldjepa.index import main


@pytest.fixture(scope="module")
def root(corpus, tmp_path_factory) -> Path:
    """Twelve videos, one of them with a name that is not UTF-8, and a web page."""
    folder = tmp_path_factory.mktemp("videos")
    videos = sorted(Path(corpus).rglob("*.mp4"))[:12]
    for number, video in enumerate(videos[1:]):
        shutil.copy(video, folder / f"{number}.mp4")
    shutil.copy(videos[0], os.fsdecode(os.fsencode(folder) + b"/\xff.mp4"))
    (folder / "page.mp4").write_text("<html>" * 50)
    return folder


def test_killed_and_started_again_it_finds_the_same(root, tmp_path, capfd):
    path, report = tmp_path / "index.sqlite", tmp_path / "report.json"
    words = [f"data.root={root}", f"data.index={path}", "data.num_workers=1", f"report={report}"]
    process = Fork(main, words)
    wait_for(path.exists)
    time.sleep(0.5)
    process.kill()
    process.communicate(timeout=30)
    assert not report.exists()
    assert main(words) == 0
    said = capfd.readouterr().out
    assert "12 of 13 without damage that shows before decoding" in said
    assert "12 x h264" in said and "12 x 32x32" in said and "1 x Invalid" in said
    figures = json.loads(report.read_text())
    assert (figures["good"], figures["frames"]) == (12, 12 * 18)
    assert list(figures["bad"]) == [str(root / "page.mp4")]
    with VideoIndex(path, root, writable=False) as index:
        names = [name for name, _ in index.rows()]
    assert names == sorted(os.listdir(os.fsencode(root)))
    assert main(words) == 0
    assert "(0 new" in capfd.readouterr().out
    again = json.loads(report.read_text())
    assert {**figures, "new": 0, "seconds": 0} == {**again, "seconds": 0}


@pytest.mark.parametrize(
    ("changed", "code", "said"),
    [
        (["data.root={tmp}/none"], 2, "does not exist"),
        (["data.root={tmp}/empty"], 2, "no files found"),
        (["data.index={tmp}/page.mp4"], 1, "damaged or no index"),
        (["data.index={tmp}/page.mp4/index"], 1, "cannot be read and written"),
        (["data.num_workers=0"], 2, "data.num_workers=0: expected 1 or more"),
        (["data.rot=/videos"], 2, "did you mean data.root?"),
    ],
)
def test_mistakes_are_one_line(root, tmp_path, capfd, changed, code, said):
    (tmp_path / "empty").mkdir()
    (tmp_path / "page.mp4").write_text("<html>" * 100)
    words = [f"data.root={root}", f"data.index={tmp_path / 'index.sqlite'}"]
    assert main([*words, *(word.format(tmp=tmp_path) for word in changed)]) == code
    err = capfd.readouterr().err
    assert err.count("\n") == 1 and err.startswith("worldjepa.index: ") and said in err


def test_help_names_the_settings(capsys):
    assert main(["--help"]) == 0
    assert "data.index=FILE" in capsys.readouterr().out
    assert main(["--cfg"]) == 0
    assert "timeout_s: 60.0" in capsys.readouterr().out
