import errno
import json
import time

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from worldjepa.training import logbook
from worldjepa.training.logbook import Logbook, cut_metrics


def records(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def board(run):
    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    return events


def test_every_logged_step_is_one_json_object_at_once(tmp_path):
    with Logbook(tmp_path, total_steps=100, terminal=False) as book:
        book.log(10, {"loss": 0.5, "effective_rank": 3.0})
        assert records(tmp_path) == [{"step": 10, "loss": 0.5, "effective_rank": 3.0}]  # before close
        book.log(20, {"loss": float("nan")})
        with pytest.raises(ValueError, match="needs 'loss'; got \\['lr'\\]"):
            book.log(30, {"lr": 1.0})
    assert records(tmp_path)[1] == {"step": 20, "loss": None}
    assert [(e.step, e.value) for e in board(tmp_path).Scalars("effective_rank")] == [(10, 3.0)]


def test_plain_lines_without_a_terminal(tmp_path, capsys, monkeypatch):
    now = iter([100.0, 110.0, 130.0])
    monkeypatch.setattr(logbook.time, "monotonic", lambda: next(now))
    with Logbook(tmp_path, total_steps=400, terminal=False) as book:
        monkeypatch.setattr(logbook.time, "monotonic", lambda: next(now))
        shown = {"effective_rank": 38.24, "clips_per_second": 212.04, "data_wait": 0.031, "lr": 1e-3}
        book.tick(99)
        book.log(100, {"loss": 0.43125} | shown)
        book.note("a note with [brackets] " + "and many words " * 20)
        book.log(200, {"loss": 0.25})
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "step 100/400  loss 0.4313  rank 38.2  212.0 clips/s  data wait 3%  eta 0:30", lines[0]
    assert lines[1].startswith("a note with [brackets] and many words and many")
    # the rank keeps its last value; 200 steps took 30 s, 200 are left
    assert lines[2] == "step 200/400  loss 0.2500  rank 38.2  212.0 clips/s  data wait 3%  eta 0:30"
    assert len(lines) == 3


def test_a_bar_with_notes_above_it_on_a_terminal(tmp_path, capsys):
    with Logbook(tmp_path, total_steps=50, resumed=7, terminal=True) as book:
        book.log(20, {"loss": 1.25})
        book.note("worth knowing")
        book.tick(21)
    out = capsys.readouterr().out
    assert "worth knowing" in out
    assert "21/50" in out
    assert "loss 1.2500" in out


def test_resuming_cuts_both_records_back(tmp_path):
    with Logbook(tmp_path, total_steps=100, terminal=False) as book:
        for step in (10, 20, 30, 40):
            book.log(step, {"loss": float(step)})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 50, "lo')  # torn by a kill
    time.sleep(1.1)  # TensorBoard names and orders its files by the second
    with Logbook(tmp_path, total_steps=100, resumed=20, terminal=False) as book:
        book.log(30, {"loss": -30.0})
    assert [(r["step"], r["loss"]) for r in records(tmp_path)] == [(10, 10.0), (20, 20.0), (30, -30.0)]
    kept = [(e.step, e.value) for e in board(tmp_path).Scalars("loss")]
    assert kept == [(10, 10.0), (20, 20.0), (30, -30.0)]


@pytest.mark.parametrize(
    ("text", "step", "left", "dropped"),
    [
        ('{"step": 1}\n{"step": 2}\n', 2, '{"step": 1}\n{"step": 2}\n', 0),
        ('{"step": 1}\n{"step": 2}\n', 1, '{"step": 1}\n', 1),
        ('{"step": 1}\n{"step": 2', 5, '{"step": 1}\n', 1),
        ('{"step": 1}\n{"step": 2}', 5, '{"step": 1}\n{"step": 2}\n', 0),  # whole, its newline torn off
        ('{"step": 1}\n\x00\x00\n[3]\n{"loss": 1}\n{"step": 2}\n', 5, '{"step": 1}\n{"step": 2}\n', 3),
        ('{"step": 1}\n', 0, "", 1),
        ("", 3, "", 0),
    ],
)
def test_cut_metrics(tmp_path, text, step, left, dropped):
    path = tmp_path / "metrics.jsonl"
    path.write_text(text)
    assert cut_metrics(path, step) == dropped
    assert path.read_text() == left
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_cutting_tolerates_bytes_that_are_not_text_and_an_absent_file(tmp_path):
    path = tmp_path / "metrics.jsonl"
    assert cut_metrics(path, 3) == 0
    path.write_bytes(b'{"step": 1}\n\xff\xfe{"st')
    assert cut_metrics(path, 3) == 1
    assert path.read_bytes() == b'{"step": 1}\n'


def test_pictures_reach_tensorboard(tmp_path):
    image = torch.randint(0, 256, (3, 6, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with Logbook(tmp_path, total_steps=10, terminal=False) as book:
        book.picture(3, "masks", image)
    (event,) = board(tmp_path).Images("masks")
    assert (event.step, event.width, event.height) == (3, 5, 6)


@pytest.mark.parametrize("from_the_start", [True, False])
def test_a_full_disk_ends_tensorboard_alone(tmp_path, monkeypatch, caplog, capfd, from_the_start):
    """Its thread meets the error; the figures go on in metrics.jsonl."""

    def fill_disk():
        def full(writer, data):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr("tensorboard.summary.writer.record_writer.RecordWriter.write", full)

    if from_the_start:
        fill_disk()
    with Logbook(tmp_path, total_steps=40, terminal=False) as book:
        book.log(10, {"loss": 1.0})
        fill_disk()
        for step in (20, 30):
            book.log(step, {"loss": 1.0, "lr": 0.1})
            book.picture(step, "masks", torch.zeros(3, 2, 2, dtype=torch.uint8))
    assert [record["step"] for record in records(tmp_path)] == [10, 20, 30]
    (said,) = [record.getMessage() for record in caplog.records]
    assert f"{tmp_path / 'tensorboard'} ends here (No space left on device); the run goes on" in said
    assert "Traceback" not in capfd.readouterr().err


def test_other_ranks_write_and_say_nothing(tmp_path, capsys):
    with Logbook(tmp_path / "run", total_steps=10, main=False) as book:
        book.tick(1)
        book.log(1, {"loss": 1.0})
        book.note("x")
        book.picture(1, "x", torch.zeros(3, 2, 2, dtype=torch.uint8))
    assert not (tmp_path / "run").exists()
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, "-"), (0.2, "0:00"), (61, "1:01"), (3725, "1:02:05"), (90061, "25:01:01")]
)
def test_clock(seconds, text):
    assert logbook._clock(seconds) == text
