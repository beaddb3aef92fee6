"""The benchmark runs at a toy size beside a stand-in of the public environment, which it also tells apart."""

import json

import numpy as np
import pytest

from benchmarks import env_steps
from benchmarks.stopwatch import CLOCKS


class StandIn(env_steps.Ours):
    """Ours in the place of the public one; ``late``: its pictures are a step behind."""

    def __init__(self, num_envs: int, size: int, late: bool = False):
        super().__init__(num_envs, size, "vector_entry_point")
        self.late, self.before = late, np.zeros(0)

    def step(self, actions: np.ndarray) -> np.ndarray:
        frames, self.before = self.before, super().step(actions)
        return frames if self.late and frames.size else self.before


@pytest.fixture(autouse=True)
def toy(monkeypatch):
    monkeypatch.setattr(env_steps, "STEPS", dict.fromkeys(env_steps.STEPS, 2))
    monkeypatch.setattr(env_steps, "SURVEY", 20)
    monkeypatch.setattr(env_steps, "TABLE_ENVS", (1, 2))
    monkeypatch.setattr(env_steps, "TABLE_SIZES", (16,))
    monkeypatch.setattr(env_steps, "version", lambda name: "1")
    monkeypatch.setattr(env_steps, "Public", StandIn)


def test_a_toy_run_gives_tables_and_a_record(tmp_path, capsys):
    out = tmp_path / "steps"
    assert env_steps.main(["--rounds", "3", "--threads", "1", "--out", str(out)]) == 0
    text = out.with_suffix(".md").read_text()
    assert text.strip() == capsys.readouterr().out.strip()
    record = json.loads(out.with_suffix(".json").read_text())
    assert {"command", "commit", "date", "processor", "threads", "versions", "rounds"} < set(record)
    compared = record["cases"]["comparison"]
    speeds, ratios = compared["steps_per_second"], compared["times_public"]
    quotients = [a / b for a, b in zip(speeds[env_steps.BATCH], speeds[env_steps.PUBLIC], strict=True)]
    assert ratios[env_steps.BATCH][1] == pytest.approx(sorted(quotients)[1])
    assert ratios[env_steps.PUBLIC] == [1.0, 1.0, 1.0]
    assert f"| {env_steps.BATCH} | " in text
    assert list(record["cases"]["survey"]["16"]) == ["1", "2"]


def test_pictures_that_differ_give_no_figure(monkeypatch, capsys):
    monkeypatch.setattr(env_steps, "Public", lambda num_envs, size: StandIn(num_envs, size, late=True))
    assert env_steps.main(["--rounds", "1"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert "no figures: worldjepa, single ones: the dot of a frame differs" in said.err


def test_steps_a_second_count_every_environment(monkeypatch):
    class Slow(StandIn):
        now = 0.0

        def step(self, actions: np.ndarray) -> np.ndarray:
            self.now += 0.5
            return self.before

    slow = Slow(8, 16)
    monkeypatch.setitem(CLOCKS, "wall", lambda: slow.now)
    assert env_steps.measure(slow, num_envs=8, steps=10, clock="wall") == pytest.approx(16.0)
