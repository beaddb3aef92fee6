"""The table of PushT and Reacher: what was trained on, by which words, and what was reached."""

import json
from types import SimpleNamespace

import numpy as np

from benchmarks.control import EXPERIMENTS, main, markdown
from benchmarks.goals import Runs, pooled
from worldjepa.evaluation.success import Share
from worldjepa.settings.compose import compose


def judged(reached: int) -> dict:
    part = Share(reached, 20).to_dict() | {"groups": {}}
    baselines = {"copy": Share(20, 20).to_dict(), "random": Share(1, 20).to_dict(), "no_op": part}
    return part | {
        "begun_at_goal": 2,
        "planning_ms_per_environment": 12.0,
        "baselines": {name: one | {"groups": {}} for name, one in baselines.items()},
    }


def test_a_row_says_what_was_trained_and_reached():
    case = {
        "command": "+experiment=push_t train.steps=7000",
        "judged": "plan.horizon=6",
        "episodes": 1100,
        "env_steps": 110_000,
        "settings": {"model": "micro", "size": 64, "steps": 7000, "batch_size": 32},
        "training_minutes": {"0": 9.04, "1": 8.96},
        "found": pooled([judged(18), judged(19)]),
        "measured": "abc1234, today, a processor",
    }
    text = markdown({"PushT": case}, {"command": "python -m benchmarks.control"})
    reached = "| PushT | 92.5 (80-97) of 40 | 90.0, 95.0 | 100.0 (91-100) of 40 | 5.0 (1-17) of 40 | 92.5"
    assert reached in text
    assert "| PushT | 1,100 | 110,000 | micro | 64 | 32 | 7,000 | 9.0, 9.0 | 12, 12 |" in text
    said = "- PushT: `+experiment=push_t train.steps=7000`; `plan.horizon=6`; abc1234, today, a processor"
    assert said in text


def test_the_experiments_compose_and_the_words_reach_the_commands(monkeypatch, tmp_path):
    asked = []

    def train(self, experiment, name, seed, words):
        compose([f"+experiment={experiment}", *words])
        asked.append((experiment, name, seed, *words))
        (tmp_path / name).mkdir(exist_ok=True)
        settings = {
            "model": {"size": "micro"},
            "data": {"root": str(tmp_path), "size": 64},
            "train": {"steps": 5, "batch_size": 4},
        }
        (tmp_path / name / "config.yaml").write_text(json.dumps(settings))
        return tmp_path / name

    found = SimpleNamespace(lengths=np.array([10, 10, 10]))
    monkeypatch.setattr(Runs, "train", train)
    monkeypatch.setattr(Runs, "judge", lambda self, folder, seed, words, episodes: judged(15))
    monkeypatch.setattr("benchmarks.control.open_episodes", lambda root: found)
    monkeypatch.setattr("benchmarks.control.training_minutes", lambda folder: 1.0)
    out = tmp_path / "table"
    for name in ("Reacher", "PushT"):
        assert main(["--rows", name, "--train", "train.steps=5", "--out", str(out)]) == 0
    assert asked == [("reacher", "Reacher", 0, "train.steps=5"), ("push_t", "PushT", 0, "train.steps=5")]
    cases = json.loads(out.with_suffix(".json").read_text())["cases"]
    assert list(cases) == list(EXPERIMENTS) and cases["PushT"]["env_steps"] == 30
