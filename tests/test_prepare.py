"""``python -m worldjepa.prepare``, as typed: training from the store is training from the originals."""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch

from tests.forks import Fork
from tests.runs import TINY, wait_for
from worldjepa.data.clips import loader
from worldjepa.data.clips.listing import FileList, list_files, training_and_held_out
from worldjepa.data.clips.loader import Source, clip_loader
from worldjepa.data.clips.sampling import ClipSampling
from worldjepa.data.clips.transforms import TrainTransform
from worldjepa.prepare import main
from worldjepa.train import main as train

QUICK = ["data.size=32", "data.num_workers=1", "prepare.preset=ultrafast", "prepare.max_share=null"]


@pytest.fixture(scope="module")
def originals(corpus, tmp_path_factory) -> Path:
    """The tiny corpus with two bad files in it."""
    root = tmp_path_factory.mktemp("originals") / "corpus"
    shutil.copytree(corpus, root)
    kind = next((root / "train").iterdir())
    (kind / "page.mp4").write_text("<html>" * 50)
    (kind / "empty.mp4").touch()
    return root


@pytest.fixture(scope="module")
def store(originals, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("prepared") / "store"
    assert main([f"data.root={originals}", f"out={out}", "prepare.crf=8", *QUICK]) == 0
    return out


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "lock"}


def names(files: FileList) -> list[str]:
    return [files.relative(i) for i in range(len(files))]


def test_a_store_lists_as_its_corpus(originals, store):
    for one, other in zip(training_and_held_out(originals), training_and_held_out(store), strict=True):
        assert one.lines() == other.lines()
        assert (one.labels, one.classes) == (other.labels, other.classes)
        assert other.prepared and not one.prepared
    assert names(list_files(originals)) == names(list_files(store, layout="ssv2"))


def test_training_sees_the_same_samples_in_the_same_order(originals, store):
    """Files, frames, crops, labels, and what replaces a bad file: all but the encoder's small errors."""

    def batches(root):
        source = Source(training_and_held_out(root)[0])
        settings = {"sampling": ClipSampling(4, fps=10), "transform": TrainTransform(24), "views": 2}
        with clip_loader([source], batch_size=8, seed=3, last_step=8, **settings) as clips:
            return list(clips)

    bad = 0
    for one, other in zip(batches(originals), batches(store), strict=True):
        relative = [str(Path(path).relative_to(originals)) for path in one.paths]
        assert relative == [str(Path(path).relative_to(store)) for path in other.paths]
        assert torch.equal(torch.as_tensor(one.labels), torch.as_tensor(other.labels))
        assert [file.reason for file in one.bad] == [file.reason for file in other.bad]
        bad += len(one.bad)
        for mine, theirs in ((one.frames, other.frames), (one.second, other.second)):
            assert mine is not None and theirs is not None
            away = (mine.float() - theirs.float()).abs().flatten(1).mean(dim=1)
            assert away.max() < 6, "another frame or crop differs by more"
    assert bad > 0


def test_a_run_trains_from_a_store_on_what_it_would_draw_from_the_originals(
    originals, store, tmp_path, monkeypatch
):
    """The frozen list is the originals', and so are file, label and replaced bad file of every draw."""
    drawn: dict[Path, list] = {originals: [], store: []}
    batches = loader._training_batches
    for root, seen in drawn.items():

        def recorded(*known, root=root, seen=seen):
            for batch in batches(*known):
                paths = [os.path.relpath(path, root) for path in batch.paths]
                bad = [(os.path.relpath(file.path, root), file.reason) for file in batch.bad]
                seen.append((paths, torch.as_tensor(batch.labels).tolist(), bad))
                yield batch

        monkeypatch.setattr(loader, "_training_batches", recorded)
        run = tmp_path / root.name
        assert train([*TINY, f"data.root={root}", f"run.dir={run}", "train.steps=8"]) == 0
        frozen = (run / "files.jsonl").read_text().splitlines()
        assert frozen == training_and_held_out(originals)[0].lines()
    assert drawn[originals] == drawn[store] and len(drawn[store]) == 8
    assert any(bad for _, _, bad in drawn[store])


def test_killed_and_started_again_it_writes_the_same_bytes(originals, store, tmp_path):
    out = tmp_path / "store"
    words = [f"data.root={originals}", f"out={out}", "prepare.crf=8", *QUICK]
    process = Fork(main, words)
    partial = out / "shard.partial"
    wait_for(lambda: partial.exists() and partial.stat().st_size > 5000)
    process.kill()
    process.communicate(timeout=30)
    assert not (out / "manifest.json").exists() and partial.stat().st_size > 5000
    assert main(words) == 0
    assert contents(out) == contents(store)


def test_what_was_done_is_said(originals, store, tmp_path, capfd):
    words = [f"data.root={originals}", f"out={store}", "prepare.crf=8", *QUICK]
    assert main(words) == 0  # it is finished: only says so
    said = capfd.readouterr().out
    assert "32 of 34 videos, 576 frames" in said and "2 bad files" in said and f"data.root={store}" in said
    assert main([f"out={store}", "prepare.verify=true"]) == 0
    assert "all sums right" in capfd.readouterr().out
    damaged = tmp_path / "damaged"
    shutil.copytree(store, damaged)
    with open(damaged / "shard-00000.bin", "r+b") as file:
        file.seek(1000)
        file.write(b"xxxx")
    assert main([f"out={damaged}", "prepare.verify=true"]) == 1
    assert "shard-00000.bin is not what was written" in capfd.readouterr().err
    reasons = [json.loads(line)[-1] for line in (store / "videos.jsonl").read_text().splitlines()]
    assert sum(reason is not None for reason in reasons) == 2


@pytest.mark.parametrize(
    ("changed", "code", "said"),
    [
        ([], 2, "out: no folder is named"),
        (["out={tmp}/new", "data.root=/missing"], 2, "does not exist"),
        (["out={tmp}/new", "data.root={store}"], 2, "is a prepared store already"),
        (["out={tmp}/new", "prepare.crf=90"], 2, "prepare.crf=90: expected a whole number from 0"),
        (["out={tmp}/new", "prepare.preset=slowest"], 2, "expected one of"),
        (["out={tmp}/none", "prepare.verify=true"], 2, "does not exist"),
        (["out={store}"], 2, "was begun with"),
    ],
)
def test_mistakes_are_one_line(originals, store, tmp_path, capfd, changed, code, said):
    words = [word.format(tmp=tmp_path, store=store) for word in changed]
    assert main([f"data.root={originals}", *words]) == code
    err = capfd.readouterr().err
    assert err.count("\n") == 1 and err.startswith("worldjepa.prepare: ") and said in err
    if len(words) == 2 and "verify" not in words[1]:
        assert not (tmp_path / "new").exists()


def test_help_names_the_settings(capsys):
    assert main(["--help"]) == 0
    assert "prepare.raw=true" in capsys.readouterr().out
    assert main(["--cfg", "out=x"]) == 0
    assert "crf: 26" in capsys.readouterr().out
