"""The benchmark runs at a toy size beside a stand-in of the public dataset, which it also tells apart."""

import json

import numpy as np
import pytest
import torch

from benchmarks import episode_loader


class StandIn:
    """Ours in the place of the Lance dataset; ``late``: its frames are a step behind."""

    def __init__(self, episodes, late=False):
        self.episodes, self.late = episodes, int(late)
        self.span = episode_loader.SAMPLING.num_steps * episode_loader.SAMPLING.action_block
        starts = range(len(episodes[0].actions) + 1 - self.span + 1)
        self.clip_indices = [(e, s) for e in range(len(episodes)) for s in starts]

    def __len__(self):
        return len(self.clip_indices)

    def __getitem__(self, number):
        episode, start = self.clip_indices[number]
        whole, k = self.episodes[episode], episode_loader.SAMPLING.action_block
        frames = np.moveaxis(whole.frames[max(0, start - 5 * self.late) :][: self.span : k], -1, 1)
        actions = np.append(whole.actions, np.zeros((1, 2), np.float32), 0)[start : start + self.span]
        pixels, actions = torch.from_numpy(frames.copy()), torch.from_numpy(actions).reshape(-1, 2 * k)
        return {"pixels": pixels, "action": actions}

    def __getitems__(self, numbers):
        return [self[number] for number in numbers]


@pytest.fixture(autouse=True)
def toy(monkeypatch):
    monkeypatch.setattr(episode_loader, "EPISODES", {16: 2})
    monkeypatch.setattr(episode_loader, "BATCH", 2)
    monkeypatch.setattr(episode_loader, "STEPS", 40)
    monkeypatch.setattr(episode_loader, "BATCHES", dict.fromkeys(episode_loader.BATCHES, 1))
    monkeypatch.setattr(episode_loader, "QUEUED", 1)
    monkeypatch.setattr(episode_loader, "WORKERS", (0,))
    monkeypatch.setattr(episode_loader, "version", lambda name: "1")
    monkeypatch.setattr(episode_loader, "write_public", lambda episodes, root: StandIn(episodes))


def test_a_toy_run_gives_a_table_and_a_record(tmp_path, capsys):
    out = tmp_path / "loader"
    words = ["16", "16:noise", "--rounds", "3", "--threads", "1", "--out", str(out)]
    assert episode_loader.main(words) == 0
    text = out.with_suffix(".md").read_text()
    assert text.strip() == capsys.readouterr().out.strip()
    record = json.loads(out.with_suffix(".json").read_text())
    assert {"command", "commit", "date", "processor", "threads", "versions", "rounds"} < set(record)
    assert list(record["cases"]) == ["16 px", "16 px, with pattern and noise"]
    case = record["cases"]["16 px"]
    speeds = case["windows_per_second"]["0"]
    pairs = zip(speeds[episode_loader.OURS], speeds[episode_loader.PUBLIC], strict=True)
    assert case["times_public"]["0"][1] == pytest.approx(sorted(a / b for a, b in pairs)[1])
    assert case["megabytes"]["frames as they are"] == pytest.approx(2 * 41 * 16 * 16 * 3 / 1e6)
    assert "| 16 px | 0 | " in text


def test_windows_that_differ_give_no_figure(monkeypatch, capsys):
    monkeypatch.setattr(episode_loader, "write_public", lambda episodes, root: StandIn(episodes, late=True))
    monkeypatch.setattr(episode_loader, "TOLERANCE", 0.1)
    assert episode_loader.main(["16", "--rounds", "1"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert "no figures: 16 px: the frames of episode 0 at 1 differ by" in said.err or "levels" in said.err


def test_windows_a_second_are_counted_without_what_was_queued(monkeypatch):
    now = iter([10.0, 12.0])
    monkeypatch.setitem(episode_loader.CLOCKS, "wall", lambda: next(now))
    calls = []
    assert episode_loader.measure(lambda: calls.append(0), 5, "wall") == pytest.approx(2 * 5 / 2)
    assert len(calls) == 5 + 1


@pytest.mark.parametrize("text", ["64px", "noise", "64:dark"])
def test_a_case_of_another_form_is_refused(text, capsys):
    with pytest.raises(SystemExit):
        episode_loader.main([text])
    assert "64:noise" in capsys.readouterr().err
