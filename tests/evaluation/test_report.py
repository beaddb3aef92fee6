"""Figures of plans as data and as tables."""

import numpy as np
from rich.console import Console

from worldjepa.evaluation.goals import Place, Seen, Task, Tasks
from worldjepa.evaluation.players import Played
from worldjepa.evaluation.report import outcome, rows_of, sweep_rows, tables, terminal_table

SEEN = Seen(np.zeros((2, 2, 3), np.uint8), {}, None)
GROUPS = ["across", "same_room", "same_room", "across"]
TASKS = Tasks([Task(Place(0, 0), Place(0, 5), SEEN, SEEN, group) for group in GROUPS], 1, 0)
PLAYED = Played(np.array([0, 4, 7, 8]), np.zeros((4, 9, 2), np.float32))


def result() -> dict:
    """Return a result as plan.json holds it."""
    about = {"protocol": "lewm", "goals": "expert", "goal_offset": 5, "budget": 9, "drawn": 5}
    dropped = {"begun_at_goal": 1, "not_reproduced": 0}
    part = about | dropped | outcome(TASKS, PLAYED)
    timed = part | {"planning_ms": 8.0, "planning_ms_per_environment": 2.0}
    return {
        **timed,
        "baselines": {"no_op": outcome(TASKS, Played(np.zeros(4, np.int64), PLAYED.actions))},
        "beside": {},
        "offsets": {"10": part},
        "run": "runs/<a>",
        "checkpoint": "step_00000010",
        "env": "a/B-v0",
        "success": "x within 1",
        "seeds": {"tasks": 0},
    }


def test_shares_by_group_and_steps():
    found = outcome(TASKS, PLAYED)
    assert (found["success_rate"], found["episodes"], found["steps_to_goal"]) == (0.75, 4, 7)
    assert found["groups"]["across"]["success_rate"] == 0.5
    assert found["groups"]["same_room"] | {"wilson_low": 0} == {
        "success_rate": 1.0,
        "wilson_low": 0,
        "wilson_high": found["groups"]["same_room"]["wilson_high"],
        "episodes": 2,
    }
    nobody = outcome(TASKS, Played(np.zeros(4, np.int64), PLAYED.actions))
    assert (nobody["success_rate"], nobody["steps_to_goal"]) == (0, None)


def test_rows_of_a_table():
    lines = rows_of(result())
    assert lines[0] == ["", "success % (4)", "across (2)", "same_room (2)", "steps", "ms"]
    assert lines[1] == ["world model", "75 [30-95]", "50 [9-91]", "100 [34-100]", "7", "2"]
    assert lines[2][0::4] == ["no action", "-"]
    assert sweep_rows(result()["offsets"])[1][:3] == ["10", "9", "75 [30-95]"]


def test_the_terminal_shows_whole_cells():
    console = Console(width=80, record=True)
    for heading, lines in tables(result()):
        console.print(terminal_table(heading, lines))
    text = console.export_text()
    assert "100 [34-100]" in text
    assert "1 of 5 drawn began there" in text.replace("\n", " ")
