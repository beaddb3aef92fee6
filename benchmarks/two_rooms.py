"""How often does a plan reach its goal in TwoRooms, pooled over training seeds, and what do settings give?

    python -m benchmarks.two_rooms

Trains every row of the table once for each seed (``python -m worldjepa.train +experiment=two_rooms`` with
the row's settings; finished runs are kept, stopped ones continued), puts each model to tasks of its own
(``python -m worldjepa.plan``) under every protocol of the row, and pools. Then, for the first row's first
seed, one setting of the planner after the other. Rows and choices that are not asked for (``--rows``,
``--choice-episodes 0``) stay in the table of ``--out`` as they were measured; each row names its commit. Runs
one command at a time: nothing else should run beside.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.goals import Runs, cell, measured_before, pooled, row_parser, training_minutes
from benchmarks.machine import describe
from benchmarks.table import write_results

FOCUS = ["objective.weights.inverse_dynamics=10", "objective.weights.sigreg=0.5"]  # on what actions change
ROWS: dict[str, list[str]] = {
    "fixed wall and door": [],
    "EMA target": ["objective=ema"],
    "random wall and door": ["env.kwargs.random_wall=true", "env.kwargs.random_door=true", *FOCUS],
    "distractors": [
        "env.kwargs.distractors=true",
        *FOCUS,
        "model.heads=[]",
        "~objective.weights.pixels",
    ],
}
FAR = ["plan.protocol=anywhere", "plan.reduction=smallest", "plan.warm_start=1"]  # the way round is long
PROTOCOLS = {"lewm": [], "anywhere": [*FAR, "plan.horizon=18"]}
ASKED = {"fixed wall and door": ["lewm", "anywhere"]}  # other rows: lewm
CHOICES: dict[str, dict[str, list[str]]] = {
    "lewm": {
        "last": ["plan.reduction=last"],
        "last, all 5 blocks carried out": ["plan.reduction=last", "plan.replan_every=5"],
        "last + 0.1 of each earlier": [],
        "last + 0.3 of each earlier": ["plan.reduction_weight=0.3"],
        "mean": ["plan.reduction=mean"],
        "smallest": ["plan.reduction=smallest"],
        "smallest, L1": ["plan.reduction=smallest", "plan.cost=goal_l1"],
        "smallest, cosine": ["plan.reduction=smallest", "plan.cost=goal_cosine"],
        "smallest, cem": ["plan.reduction=smallest", "plan.planner=cem"],
        "smallest, horizon 10": ["plan.reduction=smallest", "plan.horizon=10"],
    },
    "anywhere": {
        "last + 0.1 of each earlier, horizon 18": ["plan.protocol=anywhere", "plan.horizon=18"],
        "smallest, horizon 5": [*FAR, "plan.horizon=5"],
        "smallest, horizon 10": [*FAR, "plan.horizon=10"],
        "smallest, horizon 14": [*FAR, "plan.horizon=14"],
        "smallest, horizon 18": [*FAR, "plan.horizon=18"],
    },
}


class Table:
    """The rows, their runs in ``folder``."""

    def __init__(self, folder: Path, episodes: int):
        self.runs, self.episodes = Runs(folder), episodes

    def row(self, name: str, seeds: Sequence[int], protocols: Sequence[str]) -> dict[str, Any]:
        """Return a row's figures, pooled over the seeds."""
        runs = {seed: self._train(name, seed) for seed in seeds}
        return {
            "settings": ROWS[name],
            "training_minutes": {str(seed): training_minutes(run_dir) for seed, run_dir in runs.items()},
            "protocols": {
                protocol: pooled(
                    [self.runs.judge(runs[seed], seed, PROTOCOLS[protocol], self.episodes) for seed in seeds]
                )
                for protocol in ASKED.get(name, ["lewm"])
                if protocol in protocols
            },
        }

    def choices(self, name: str, seed: int, episodes: int, protocols: Sequence[str]) -> dict[str, Any]:
        """Return what each choice of planner settings reaches with one run's model, and a perfect one."""
        run_dir = self._train(name, seed)
        return {
            protocol: {
                choice: self.runs.judge(run_dir, seed, words, episodes) for choice, words in choices.items()
            }
            for protocol, choices in CHOICES.items()
            if protocol in protocols
        }

    def _train(self, name: str, seed: int) -> Path:
        return self.runs.train("two_rooms", name, seed, ROWS[name])


def markdown(cases: dict[str, Any], circumstances: dict[str, str]) -> str:
    """Return the report."""
    lines = ["# Goals reached in TwoRooms", "", *(f"- {k}: {v}" for k, v in circumstances.items()), ""]
    lines += [
        "Success in % (95 % Wilson interval), pooled over training seeds; tasks that begin at their goal are",
        "dropped. lewm: the goal is the frame 25 steps later in a held-out episode, budget 50; anywhere:",
        "starts and goals of different held-out episodes, budget 100. Training: minutes without collecting.",
        "",
        "| variant | protocol | all | across the wall | each seed | perfect model | random | training |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, row in cases["rows"].items():
        minutes = ", ".join(f"{value:.1f}" for value in row["training_minutes"].values())
        for protocol, part in row["protocols"].items():
            planner, baselines = part["planner"], part["baselines"]
            each = ", ".join(f"{100 * rate:.1f}" for rate in part["each"])
            others = [cell(baselines[one]) if one in baselines else "-" for one in ("oracle", "random")]
            across = cell(planner["groups"]["across"])
            cells = [name, protocol, cell(planner), across, each, *others, minutes]
            lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "Settings beyond `+experiment=two_rooms`:", ""]
    lines += [f"- {name}: `{' '.join(row['settings']) or 'none'}`" for name, row in cases["rows"].items()]
    lines += [f"- {name}: `{' '.join(words) or 'none'}`" for name, words in PROTOCOLS.items()]
    lines += ["", "Each row was measured at:", ""]
    lines += [f"- {name}: {row['measured']}" for name, row in cases["rows"].items()]
    return "\n".join(lines) + "\n" + (_choices(cases) if cases["choices"] else "")


def _choices(cases: dict[str, Any]) -> str:
    lines = ["", "## What settings of the planner give", "", f"One model ({cases['choices of']}).", ""]
    lines += ["| protocol | cost and planner | all | across the wall | perfect model | ms an environment |"]
    lines += ["|---|---|---|---|---|---|"]
    for protocol, choices in cases["choices"].items():
        for choice, found in choices.items():
            oracle = found["baselines"].get("oracle")
            cells = [protocol, choice, cell(found), cell(found["groups"]["across"])]
            cells += [cell(oracle) if oracle else "-", f"{found['planning_ms_per_environment']:.0f}"]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main(argv: list[str] | None = None) -> int:
    """Train, judge, pool, report."""
    parser = row_parser(__doc__, ROWS, seeds=[0, 1, 2], folder="runs/two_rooms_table")
    parser.add_argument("--protocols", nargs="+", choices=list(PROTOCOLS), default=list(PROTOCOLS))
    parser.add_argument("--choice-episodes", type=int, default=50, help="0: none of them")
    options = parser.parse_args(argv)
    table = Table(options.folder, options.episodes)
    first, seed = options.rows[0], options.seeds[0]
    command = "python -m benchmarks.two_rooms " + shlex.join(sys.argv[1:] if argv is None else argv)
    circumstances = describe(command.strip(), 1, "wall")
    measured = ", ".join(circumstances[key] for key in ("commit", "date", "processor", "versions"))
    cases = {"rows": {}, "choices of": "", "choices": {}} | measured_before(options.out)
    for name in options.rows:
        row = table.row(name, options.seeds, options.protocols)
        cases["rows"][name] = row | {"measured": measured}
    cases["rows"] = {name: cases["rows"][name] for name in ROWS if name in cases["rows"]}
    if options.choice_episodes:
        cases["choices of"] = f"{first}, seed {seed} ({measured})"
        cases["choices"] = table.choices(first, seed, options.choice_episodes, options.protocols)
    text = markdown(cases, circumstances)
    print(text)
    if options.out:
        write_results(circumstances, cases, text, options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
