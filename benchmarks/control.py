"""How often does a plan reach its goal in PushT and in DeepMind Control's Reacher, pooled over seeds?

    python -m benchmarks.control

Needs ``worldjepa[pusht,dm-control]``. Trains every row once for each seed (``python -m worldjepa.train`` with
the row's words and sizes of the device; finished runs are kept, stopped ones continued), puts each model to
tasks of LeWM's protocol (``python -m worldjepa.plan``), and pools. Rows that are not asked for (``--rows``)
stay in the table of ``--out`` as they were measured; each names its commit and device.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import yaml

from benchmarks.goals import Runs, cell, measured_before, pooled, row_parser, training_minutes
from benchmarks.machine import describe
from benchmarks.table import write_results
from worldjepa.data.episodes.store import open_episodes

EXPERIMENTS = {"PushT": "push_t", "Reacher": "reacher"}
BESIDE = {"copy": "the recorded actions", "random": "random", "no_op": "none"}


def row(
    runs: Runs, name: str, seeds: Sequence[int], words: Sequence[str], judging: Sequence[str], episodes: int
) -> dict[str, Any]:
    """Return a row: what the models were trained on, how long, and what they reached, pooled."""
    folders = [runs.train(EXPERIMENTS[name], name, seed, words) for seed in seeds]
    settings = yaml.safe_load((folders[0] / "config.yaml").read_text(encoding="utf-8"))
    found = open_episodes(Path(settings["data"]["root"] or folders[0] / "episodes"))
    return {
        "command": shlex.join([f"+experiment={EXPERIMENTS[name]}", *words]),
        "judged": shlex.join(judging),
        "episodes": len(found.lengths),
        "env_steps": int(found.lengths.sum()),
        "settings": {
            "model": settings["model"]["size"],
            "size": settings["data"]["size"],
            "steps": settings["train"]["steps"],
            "batch_size": settings["train"]["batch_size"],
        },
        "training_minutes": {str(s): training_minutes(f) for s, f in zip(seeds, folders, strict=True)},
        "found": pooled([runs.judge(f, s, judging, episodes) for s, f in zip(seeds, folders, strict=True)]),
    }


def markdown(cases: dict[str, Any], circumstances: dict[str, str]) -> str:
    """Return the report."""
    lines = ["# Goals reached in PushT and Reacher", "", *(f"- {k}: {v}" for k, v in circumstances.items())]
    lines += [
        "",
        "Success in % (95 % Wilson interval) under LeWM's protocol, pooled over training seeds: the goal is",
        "the frame 25 steps later in a held-out episode, budget 50 steps; tasks that begin at their goal are",
        "dropped. Episodes are of this project's own policies, not the published ones. Training: minutes,",
        "without collecting.",
        "",
        f"| task | plans | each seed | {' | '.join(BESIDE.values())} | begun at the goal |",
        "|---" * (len(BESIDE) + 4) + "|",
    ]
    for name, one in cases.items():
        found = one["found"]
        each = ", ".join(f"{100 * rate:.1f}" for rate in found["each"])
        others = [cell(found["baselines"][key]) for key in BESIDE]
        cells = [name, cell(found["planner"]), each, *others, str(found["begun_at_goal"])]
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        "| task | episodes | environment steps | model | pixels | batch | steps | training | ms a plan |",
        "|---" * 9 + "|",
    ]
    for name, one in cases.items():
        sizes = one["settings"]
        minutes = ", ".join(f"{value:.1f}" for value in one["training_minutes"].values())
        plan = ", ".join(f"{value:.0f}" for value in one["found"]["milliseconds"])
        cells = [name, f"{one['episodes']:,}", f"{one['env_steps']:,}", str(sizes["model"])]
        cells += [str(sizes["size"]), str(sizes["batch_size"]), f"{sizes['steps']:,}", minutes, plan]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "Each row's words, its planner's, and where it was measured:", ""]
    for name, one in cases.items():
        lines.append(f"- {name}: `{one['command']}`; `{one['judged'] or 'none'}`; {one['measured']}")
    return "\n".join(lines) + "\n"


def main(argv: list[str] | None = None) -> int:
    """Train, judge, pool, report."""
    parser = row_parser(__doc__, EXPERIMENTS, seeds=[0], folder="runs/control_table")
    parser.add_argument("--train", default="", help="further words of the training command, in quotes")
    parser.add_argument("--plan", default="", help="further words of the planning command, in quotes")
    options = parser.parse_args(argv)
    command = "python -m benchmarks.control " + shlex.join(sys.argv[1:] if argv is None else argv)
    circumstances = describe(command.strip(), torch.get_num_threads(), "wall")
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else circumstances["processor"]
    measured = f"{circumstances['commit']}, {circumstances['date']}, {device}, {circumstances['versions']}"
    cases = measured_before(options.out)
    for name in options.rows:
        words = shlex.split(options.train), shlex.split(options.plan)
        found = row(Runs(options.folder), name, options.seeds, *words, options.episodes)
        cases[name] = found | {"measured": measured}
    cases = {name: cases[name] for name in EXPERIMENTS if name in cases}
    text = markdown(cases, circumstances)
    print(text)
    if options.out:
        write_results(circumstances, cases, text, options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
