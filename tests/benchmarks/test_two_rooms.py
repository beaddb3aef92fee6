"""The table of TwoRooms: episodes of several seeds add up, and every row says what it was asked."""

import json

from benchmarks.goals import pooled
from benchmarks.two_rooms import CHOICES, PROTOCOLS, ROWS, Table, main, markdown
from worldjepa.evaluation.success import Share
from worldjepa.settings.commands import compose_plan
from worldjepa.settings.compose import compose


def judged(reached: int, across: int) -> dict:
    """Return what a judgement of 20 tasks holds, 8 of them across."""
    groups = {"across": Share(across, 8).to_dict(), "same_room": Share(reached - across, 12).to_dict()}
    part = Share(reached, 20).to_dict() | {"groups": groups}
    return part | {
        "begun_at_goal": 3,
        "planning_ms_per_environment": 5.0,
        "baselines": {"random": part, "oracle": part},
    }


def test_episodes_of_several_seeds_add_up():
    found = pooled([judged(20, 8), judged(17, 5)])
    assert found["planner"]["success_rate"] == 37 / 40 and found["planner"]["episodes"] == 40
    assert found["planner"]["groups"]["across"]["success_rate"] == 13 / 16
    assert found["each"] == [1.0, 0.85] and found["begun_at_goal"] == 6
    assert found["planner"]["wilson_low"] == Share(37, 40).to_dict()["wilson_low"]


def test_the_table_names_rows_settings_and_choices():
    row = {"settings": ["objective=ema"], "training_minutes": {"0": 7.25}, "measured": "abc1234, today"}
    cases = {
        "rows": {"EMA target": row | {"protocols": {"lewm": pooled([judged(20, 8), judged(17, 5)])}}},
        "choices of": "EMA target, seed 0",
        "choices": {"lewm": {"last": judged(17, 5)}},
    }
    text = markdown(cases, {"command": "python -m benchmarks.two_rooms"})
    assert "| EMA target | lewm | 92.5 (80-97) of 40 | 81.2 (57-93) of 16 | 100.0, 85.0 |" in text
    assert "| 7.2 |" in text and "- EMA target: `objective=ema`" in text
    assert "- EMA target: abc1234, today" in text
    assert "| lewm | last | 85.0 (64-95) of 20 | 62.5 (31-86) of 8 |" in text


def test_rows_that_are_not_asked_for_stay(monkeypatch, tmp_path):
    out = tmp_path / "table"
    monkeypatch.setattr(Table, "row", lambda self, name, seeds, protocols: fresh[name])
    fresh = {name: {"settings": [name], "training_minutes": {}, "protocols": {}} for name in ROWS}
    for name in ("distractors", "EMA target"):
        assert main(["--rows", name, "--choice-episodes", "0", "--out", str(out)]) == 0
    rows = json.loads(out.with_suffix(".json").read_text())["cases"]["rows"]
    assert list(rows) == ["EMA target", "distractors"]  # in the order of the table
    assert rows["distractors"]["settings"] == ["distractors"] and rows["distractors"]["measured"]


def test_settings_compose(world_run):
    for words in ROWS.values():
        compose(["+experiment=two_rooms", *words])
    for choices in (PROTOCOLS, *CHOICES.values()):
        for words in choices.values():
            compose_plan([f"run.dir={world_run}", *words])
