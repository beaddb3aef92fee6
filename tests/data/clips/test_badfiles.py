"""The log of bad files: each once, whoever writes; a limit on their share among different files."""

import json

import pytest
import torch

from worldjepa.data.clips.badfiles import BadFileLog, TooManyBadFilesError, read_timed_out
from worldjepa.types import BadFile, Batch


def batch(paths, bad=()):
    return Batch(torch.zeros(len(paths), 1, 3, 2, 2, dtype=torch.uint8), paths=tuple(paths), bad=tuple(bad))


def listed(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_each_file_is_listed_once_also_after_a_restart_and_by_several_ranks(tmp_path):
    path = tmp_path / "bad_files.jsonl"
    one, two = BadFileLog(path, 0.2), BadFileLog(path, 0.2)
    one.record(batch(["a"], [BadFile("x", "is empty"), BadFile("y", "no"), BadFile("x", "again")]))
    two.record(batch(["a"], [BadFile("y", "no"), BadFile("z\n\u00e9\udcff", "odd name")]))
    one.record(batch(["b"], [BadFile("x", "is empty")]))
    BadFileLog(path, 0.2).record(batch(["c"], [BadFile("x", "is empty"), BadFile("w", "cut")]))
    assert [entry["path"] for entry in listed(path)] == ["x", "y", "z\n\u00e9\udcff", "w"]
    assert listed(path)[0] == {"path": "x", "reason": "is empty"}


def test_a_torn_line_does_not_harm(tmp_path):
    path = tmp_path / "bad_files.jsonl"
    path.write_text('{"path": "x", "reason": "no"}\n{"path": "y", "rea')
    BadFileLog(path, 0.2).record(batch([], [BadFile("x", "no"), BadFile("y", "no")]))
    lines = path.read_text().splitlines()
    assert [json.loads(line)["path"] for line in (lines[0], lines[2])] == ["x", "y"]
    assert len(lines) == 3


def test_the_share_counts_different_files_once_a_hundred_were_tried(tmp_path):
    log = BadFileLog(tmp_path / "bad_files.jsonl", 0.2)
    bad = [BadFile(f"bad{i}", "no") for i in range(30)]
    for _ in range(50):  # a small corpus, gone through many times: 30 of 80
        log.record(batch([f"good{i}" for i in range(50)], bad))
    log.record(batch([f"more{i}" for i in range(100)]))  # 30 of 180 are within a fifth
    with pytest.raises(TooManyBadFilesError, match=r"38 of 188 files tried are bad \(20%.*bad0: no"):
        log.record(batch([], [BadFile(f"late{i}", "no") for i in range(8)]))


def test_good_files_do_not_touch_the_disk(tmp_path):
    BadFileLog(tmp_path / "bad_files.jsonl", 0.2).record(batch(["a"]))
    assert not (tmp_path / "bad_files.jsonl").exists()


def test_shares_are_checked(tmp_path):
    with pytest.raises(ValueError, match=r"max_bad_share=20"):
        BadFileLog(tmp_path / "bad_files.jsonl", 20)


def test_what_took_too_long_is_known_when_the_run_goes_on(tmp_path):
    """With the sample from which on it counts; what is wrong with the file itself is found again."""
    path = tmp_path / "bad_files.jsonl"
    assert read_timed_out(path) == ()
    slow = BadFile("slow", "decoding took too long", 17)
    BadFileLog(path, 0.2).record(batch([], [BadFile("x", "is empty"), slow, slow]))
    assert listed(path) == [
        {"path": "x", "reason": "is empty"},
        {"path": "slow", "reason": "decoding took too long", "sample": 17},
    ]
    path.write_text(path.read_text() + '{"path": "torn", "sam')
    assert read_timed_out(path) == (slow,)
