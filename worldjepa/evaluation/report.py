"""What an evaluation of plans found, as data and as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich import box
from rich.table import Table

from worldjepa.evaluation.goals import Tasks
from worldjepa.evaluation.players import Planner, Played
from worldjepa.evaluation.success import Share

NAMES = {
    "planner": "world model",
    "oracle": "perfect model",
    "copy": "behaviour",
    "random": "random",
    "no_op": "no action",
}
CAPTION = "in brackets 95 % Wilson intervals; median steps to the goal; ms of planning an environment"


def outcome(tasks: Tasks, played: Played, planner: Planner | None = None) -> dict[str, Any]:
    """Return what came of ``tasks``: successes in all and by group, steps to the goal, time of planning.

    ``steps_to_goal``: median over successes, None without any. Milliseconds are medians over planning
    calls; rows that are done are not planned for.
    """
    groups = sorted({task.group for task in tasks.tasks if task.group is not None})
    members = {name: [task.group == name for task in tasks.tasks] for name in groups}
    found: dict[str, Any] = Share.of(played.reached.tolist()).to_dict()
    found["groups"] = {
        name: Share.of(played.reached[np.array(rows)].tolist()).to_dict() for name, rows in members.items()
    }
    found["steps_to_goal"] = float(np.median(played.steps[played.reached])) if played.reached.any() else None
    if planner is not None:
        found["planning_ms"] = float(np.median([call for call, _ in planner.milliseconds]))
        each = np.median([call / rows for call, rows in planner.milliseconds])
        found["planning_ms_per_environment"] = float(each)
    return found


def rows_of(part: Mapping[str, Any]) -> list[list[str]]:
    """Lay out one protocol: a heading, then a line for the planner and for each baseline."""
    players = {"planner": part, **part.get("baselines", {})}
    groups = [f"{name} ({found['episodes']})" for name, found in part["groups"].items()]
    lines = [["", f"success % ({part['episodes']})", *groups, "steps", "ms"]]
    for name in [name for name in NAMES if name in players]:
        found = players[name]
        steps = found["steps_to_goal"]
        cells = [_share(found), *(_share(found["groups"][group]) for group in part["groups"])]
        cells += ["-" if steps is None else f"{steps:g}"]
        cells += [f"{found['planning_ms_per_environment']:.3g}" if "planning_ms" in found else ""]
        lines.append([NAMES[name], *cells])
    return lines


def sweep_rows(parts: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """Lay out a sweep over goal offsets."""
    groups = sorted({group for part in parts.values() for group in part["groups"]})
    lines = [["offset", "budget", "success %", *groups, "steps"]]
    for offset, part in parts.items():
        shares = [_share(part["groups"][group]) if group in part["groups"] else "-" for group in groups]
        steps = part["steps_to_goal"]
        lines.append(
            [offset, str(part["budget"]), _share(part), *shares, "-" if steps is None else f"{steps:g}"]
        )
    return lines


def tables(result: Mapping[str, Any]) -> list[tuple[str, list[list[str]]]]:
    """Return every table of a result with its title."""
    found = [(title(result), rows_of(result))]
    found += [(title(part), rows_of(part)) for part in result["beside"].values()]
    if result["offsets"]:
        found.append(("Other goal offsets", sweep_rows(result["offsets"])))
    return found


def title(part: Mapping[str, Any]) -> str:
    """Say in a line what was asked for."""
    goals = (
        f"goals {part['goal_offset']} steps on in held-out episodes"
        if part["goals"] == "expert"
        else "starts and goals anywhere in held-out episodes"
    )
    dropped = f"{part['begun_at_goal']} of {part['drawn']} drawn began there and were dropped"
    lost = f", {part['not_reproduced']} could not be replayed" if part["not_reproduced"] else ""
    return f"{part['protocol']}: {goals}, budget {part['budget']} steps ({dropped}{lost})"


def terminal_table(heading: str, lines: Sequence[Sequence[str]]) -> Table:
    """Return lines of cells, the first of them headings, for the terminal."""
    table = Table(
        title=heading, title_justify="left", caption=CAPTION, caption_justify="left", box=box.SIMPLE_HEAD
    )
    for index, cell in enumerate(lines[0]):
        table.add_column(cell, justify="left" if index == 0 else "right", no_wrap=True)
    for line in lines[1:]:
        table.add_row(*line)
    return table


def about(result: Mapping[str, Any]) -> str:
    """Say in a line what was judged, and what reaching a goal means."""
    seeds = ", ".join(f"{name} {seed}" for name, seed in result["seeds"].items())
    return (
        f"Checkpoint {result['checkpoint']}, environment {result['env']}; a goal is reached by "
        f"{result['success']}, at any step of the budget. Seeds: {seeds}."
    )


def _share(found: Mapping[str, Any]) -> str:
    low, high = 100 * found["wilson_low"], 100 * found["wilson_high"]
    return f"{100 * found['success_rate']:.3g} [{low:.0f}-{high:.0f}]"
