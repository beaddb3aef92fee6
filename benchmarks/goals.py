"""Models trained and put to goals by the commands that a user types, and what they reached, pooled."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.commands import call
from worldjepa.evaluation.success import Share

LAST = "checkpoints/latest"


class Runs:
    """Runs in ``folder``: trained unless they are finished, and judged once in the same words."""

    def __init__(self, folder: Path):
        self.folder = folder

    def train(self, experiment: str, name: str, seed: int, words: Sequence[str]) -> Path:
        """Train a run, unless it is finished; return its folder."""
        run_dir = self.folder / f"{name.replace(' ', '_')}_{seed}"
        call(
            "worldjepa.train",
            f"+experiment={experiment}",
            f"run.dir={run_dir}",
            f"seed={seed}",
            "plan.episodes=0",
            *words,
        )
        return run_dir

    def judge(self, run_dir: Path, seed: int, words: Sequence[str], episodes: int) -> dict[str, Any]:
        """Return what plans with the run's model reach; asked before in these words, what was found then."""
        asked = [f"plan.episodes={episodes}", f"seed={seed}", "plan.film=0", *words]
        kept = run_dir / "judged.json"
        known = json.loads(kept.read_text()) if kept.exists() else {}
        if " ".join(asked) not in known:
            call("worldjepa.plan", f"run.dir={run_dir}", *asked)
            known[" ".join(asked)] = json.loads((run_dir / "plan.json").read_text())
            kept.write_text(json.dumps(known, indent=1))
        return known[" ".join(asked)]


def row_parser(
    text: str | None, rows: Iterable[str], *, seeds: Sequence[int], folder: str
) -> argparse.ArgumentParser:
    """Return what reads the words of a table of goals: rows, seeds, tasks, where runs and table go."""
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", choices=list(rows), default=list(rows))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(seeds))
    parser.add_argument("--episodes", type=int, default=200, help="a seed")
    parser.add_argument("--folder", type=Path, default=Path(folder))
    parser.add_argument("--out", help="write <out>.md and <out>.json")
    return parser


def training_minutes(run_dir: Path) -> float:
    """Return the minutes from the run's beginning (episodes are there) to its last checkpoint."""
    last = run_dir / "checkpoints" / (run_dir / LAST).read_text().strip() / "manifest.json"
    return (last.stat().st_mtime - (run_dir / "environment.json").stat().st_mtime) / 60


def measured_before(out: str | None) -> dict[str, Any]:
    """Return the cases of the table that stands at ``out``, if there is one."""
    path = Path(f"{out}.json")
    if out is None or not path.exists():
        return {}
    return json.loads(path.read_text())["cases"]


def pooled(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Add up the episodes of several judgements: the planner's, each baseline's, in all and by group."""
    result: dict[str, Any] = {"planner": _players(found)}
    result["begun_at_goal"] = sum(one["begun_at_goal"] for one in found)
    result["each"] = [one["success_rate"] for one in found]
    result["milliseconds"] = [one["planning_ms_per_environment"] for one in found]
    result["baselines"] = {
        name: _players([one["baselines"][name] for one in found]) for name in found[0]["baselines"]
    }
    return result


def _players(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    groups = sorted({name for one in found for name in one["groups"]})
    parts = {name: [one["groups"][name] for one in found if name in one["groups"]] for name in groups}
    return _sum(found) | {"groups": {name: _sum(part) for name, part in parts.items()}}


def _sum(shares: Sequence[dict[str, Any]]) -> dict[str, Any]:
    episodes = [one["episodes"] for one in shares]
    reached = [round(one["success_rate"] * one["episodes"]) for one in shares]
    return Share(sum(reached), sum(episodes)).to_dict()


def cell(share: dict[str, Any]) -> str:
    low, high = 100 * share["wilson_low"], 100 * share["wilson_high"]
    return f"{100 * share['success_rate']:.1f} ({low:.0f}-{high:.0f}) of {share['episodes']}"
