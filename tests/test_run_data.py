"""Whole runs at a tiny size: data that is bad, odd or missing, and the layouts of the other experiments."""

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from tests.runs import TINY
from worldjepa.artifact import latest_checkpoint
from worldjepa.train import main


@pytest.fixture
def command(corpus, tmp_path):
    """Words of a tiny run in ``tmp_path/run``; later words win."""

    def words(*more):
        return [*TINY, f"data.root={corpus}", f"run.dir={tmp_path / 'run'}", *more]

    return words


@pytest.fixture
def run_dir(tmp_path):
    return tmp_path / "run"


def test_bad_files_are_listed_and_replaced(command, corpus, run_dir, tmp_path):
    root = tmp_path / "videos"
    root.mkdir()
    for number, path in enumerate(sorted(Path(corpus).rglob("*.mp4"))[:12]):
        shutil.copy(path, root / f"{number}.mp4")
    (root / "empty.mp4").write_bytes(b"")
    (root / "page.mp4").write_text("<html>not found</html>")
    assert main([*command("train.steps=12"), f"data.root={root}"]) == 0
    listed = [json.loads(line) for line in (run_dir / "bad_files.jsonl").read_text().splitlines()]
    assert {Path(entry["path"]).name for entry in listed} <= {"empty.mp4", "page.mp4"}
    assert len(listed) == len({entry["path"] for entry in listed}) >= 1
    assert all(entry["reason"] for entry in listed)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run.dir={tmp}/file/run"], "run.dir={tmp}/file/run cannot be written to"),
        (["data.root=/missing"], "data.root=/missing does not exist"),
        (["data.val_root=/missing"], "data.val_root=/missing does not exist"),
        (["data.root=null", "data.sources=[{{root: {tmp}/one}}, {{root: /missing}}]"], "data.sources[1]"),
        (["masking.mine._target_=no.such.function"], "_target_=no.such.function cannot be imported"),
    ],
)
def test_mistakes_are_one_line(command, tmp_path, capfd, words, said):
    (tmp_path / "file").touch()
    (tmp_path / "one").mkdir()
    shutil.copy(next(Path(command()[-2].partition("=")[2]).rglob("*.mp4")), tmp_path / "one")
    assert main(command(*(word.format(tmp=tmp_path) for word in words))) == 2
    err = capfd.readouterr().err
    assert err.count("\n") == 1 and said.format(tmp=tmp_path) in err


def test_a_missing_folder_from_the_environment_is_named_with_its_variable(command, monkeypatch, capfd):
    monkeypatch.setenv("KINETICS_ROOT", "/missing")
    words = [word for word in command() if not word.startswith("data.root")]
    assert main(words) == 2
    assert "data.root (from the environment's KINETICS_ROOT)=/missing does" in capfd.readouterr().err


def test_small_and_odd_data_trains_and_says_why_there_is_no_probe(command, corpus, run_dir, tmp_path, capfd):
    """A single file, one class only, and held-out files that are all bad or of classes never trained on."""
    videos = sorted(Path(corpus).rglob("*.mp4"))
    for folder in ("one/a", "odd/train/a", "odd/train/b", "odd/val/z", "bad/train/a", "bad/train/b"):
        (tmp_path / folder).mkdir(parents=True)
        for _ in range(2):
            shutil.copy(videos.pop(), tmp_path / folder)
    for name in "ab":
        (tmp_path / "bad/val" / name).mkdir(parents=True)
        (tmp_path / "bad/val" / name / "page.mp4").write_text("<html>")
    cases = {
        str(videos[0]): "no training file has a label",
        str(tmp_path / "one"): "no training file has a label",
        str(tmp_path / "odd"): "4 labelled training files have 2, and 0 files held out",
        str(tmp_path / "bad"): "no good file found: all 2 files tried are bad",
    }
    for number, (root, why) in enumerate(cases.items()):
        here = tmp_path / f"run{number}"
        words = command(f"data.root={root}", f"run.dir={here}", "train.steps=2", "train.batch_size=2")
        assert main(words) == 0
        said = capfd.readouterr().out
        assert f"no probe of the labels: {why}" in said.replace("it takes two classes or more; ", "")
        assert f"run folder: {here}\n" in said
        assert (here / "pictures" / "masks_00000002.png").exists()


def test_the_layouts_of_the_other_experiments_train(command, corpus, tmp_path, capfd):
    videos = sorted(Path(corpus).rglob("*.mp4"))
    for name in "ab":
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(12):
            Image.new("RGB", (40, 36), (20 * number, 90, 30)).save(tmp_path / f"images/{name}/{number}.png")
    (tmp_path / "ssv2/labels").mkdir(parents=True)
    for part, numbers in (("train", range(8)), ("validation", range(8, 12))):
        rows = [{"id": str(i), "template": f"Moving [something] {i % 2}"} for i in numbers]
        (tmp_path / f"ssv2/labels/{part}.json").write_text(json.dumps(rows))
        for i in numbers:
            shutil.copy(videos[i], tmp_path / f"ssv2/{i}.mp4")
    one_frame = ["data.num_frames=1", "data.frame_skip=1"]
    mixture = f"data.sources=[{{root: {corpus}, weight: 3}}, {{root: {tmp_path / 'ssv2'}}}]"
    for number, words in enumerate(
        (
            ["+experiment=imagefolder", f"data.root={tmp_path / 'images'}", *one_frame],
            ["+experiment=ssv2", f"data.root={tmp_path / 'ssv2'}"],
            ["+experiment=kinetics", "data.root=null", mixture],
        )
    ):
        common = [word for word in command("train.steps=2") if not word.startswith("+experiment")]
        here = tmp_path / f"run{number}"
        assert main([words[0], *common, *words[1:], f"run.dir={here}"]) == 0, capfd.readouterr().err
        assert latest_checkpoint(here) is not None
        labelled = (here / "labels.json").exists()
        assert labelled == (number > 0), "one image of one class is held out; videos of both are"
    frozen = [json.loads(line)[0] for line in (tmp_path / "run2/files.jsonl").read_text().splitlines()]
    assert len(frozen) == 24 + 8 and frozen[-1] == "7.mp4"
