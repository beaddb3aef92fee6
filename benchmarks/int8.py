"""What do int8 weights cost in accuracy, and gain in time and memory, on a CPU?

    python -m benchmarks.int8 --run runs/two_rooms --out benchmarks/results/int8

One run of a world model from episodes, in float32, in bf16 (autocast, the blocks' weights kept so), and with
the weights of its transformer blocks in int8 (``worldjepa/model/quantize.py``): weights alone, activations as
well, and as torch's own dynamic quantisation by fbgemm, which torch has deprecated. Accuracy: latents of
held-out windows and rollouts against float32's, rollout errors against what was seen, goals reached by
planning. Time: the run's model and models of other sizes with fresh weights; the ways run in turn, round
after round, and ratios are taken within a round.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

import worldjepa
from benchmarks.int8_ways import BASELINE, Way, ways
from benchmarks.machine import describe
from benchmarks.stopwatch import CLOCKS, Stopwatch
from benchmarks.table import divide, quartiles, write_results
from worldjepa.evaluation.goals import Ground
from worldjepa.evaluation.rollouts import RolledOut, roll_out
from worldjepa.evaluation.success import Success
from worldjepa.model.quantize import weight_bytes
from worldjepa.model.world_model import WorldModel
from worldjepa.outcome.plan_judge import Judge
from worldjepa.outcome.planning import environment
from worldjepa.run_episodes import find_episodes, windows_in_order
from worldjepa.settings.env import EnvConfig
from worldjepa.settings.schema import from_dict

CONTEXT, STEPS, BATCHES = 3, 13, 8
FRESH = {  # models of other sizes, with fresh weights: for time only
    "tiny, 16 tokens of 64 px": (
        "two_rooms",
        "model=tiny",
        "model.encoder.projector.pool=none",
        "data.size=64",
    ),
    "small, 196 tokens of 224 px": (
        "two_rooms",
        "model=small",
        "model.encoder.projector.pool=none",
        "data.size=224",
    ),
}
PLANNED = ("float32", BASELINE, "int8 weights", "int8 weights and activations")
Figures = dict[str, Any]
MINIMUM_S = 0.05  # processor time of one measurement


# --- time ----------------------------------------------------------------------------------------


def calls(model: WorldModel) -> dict[str, Callable[[WorldModel], Tensor]]:
    """Return what is timed: an observation, a batch of them, one rollout, many."""
    generator = torch.Generator().manual_seed(0)
    assert model.predictor is not None
    per, side, width = model.encoder.frames_per_step, model.image_size, model.predictor.action_dim
    tokens = model.predictor.grid.p
    several, many = (16, 128) if tokens == 1 else (4, 8) if tokens <= 16 else (2, 2)
    frames = torch.randint(0, 256, (several, per, 3, side, side), generator=generator, dtype=torch.uint8)
    actions = 2 * torch.rand(1, many, 5, width, generator=generator) - 1
    with torch.no_grad():
        latents = model.encode(frames[:1])
    return {
        "encode 1 frame": lambda m: m.encode(frames[:1]),
        f"encode {several} frames": lambda m: m.encode(frames),
        "rollout of 1 plan, 5 steps": lambda m: m.rollout(latents, actions[:, :1]),
        f"rollout of {many} plans, 5 steps": lambda m: m.rollout(latents, actions),
    }


def seconds(way: Way, call: Callable[[WorldModel], Tensor], watch: Stopwatch) -> float:
    """Return the seconds of one call, of as many as fill a measurement."""
    watch.seconds.clear()
    count = 0
    with way.running() as model:
        while watch.seconds["call"] < MINIMUM_S:
            with watch.part("call"):
                call(model)
            count += 1
    return watch.seconds["call"] / count


def measure(model: WorldModel, rounds: int, clock: str) -> dict[str, dict[str, list[float]]]:
    """Return the seconds of each call, by way, in every round."""
    watch, there = Stopwatch(clock), ways(model)
    times: dict[str, dict[str, list[float]]] = {}
    for name, call in calls(model).items():
        for way in there.values():
            seconds(way, call, watch)  # warm-up
        times[name] = {way: [] for way in there}
        for _ in range(rounds):
            for way, spent in times[name].items():
                spent.append(seconds(there[way], call, watch))
    return times


def time_figures(model: WorldModel, times: dict[str, dict[str, list[float]]]) -> Figures:
    """Return, by way, the MB of its weights, and by call the milliseconds and how many times faster it is."""
    figures: Figures = {}
    for name, way in ways(model).items():
        megabytes = None if "fbgemm" in name else weight_bytes(way.model) / 1e6  # they cannot be counted
        figures[name] = {"megabytes": megabytes}
        for call, spent in times.items():
            figures[name][call] = {
                "milliseconds": 1e3 * quartiles(spent[name])[1],
                "times_faster": list(quartiles(divide(spent[BASELINE], spent[name]))),
            }
    return figures


def time_table(title: str, figures: Figures) -> str:
    """Return times as a table; ratios are to ``BASELINE``."""
    names = [name for name in next(iter(figures.values())) if name != "megabytes"]
    lines = [f"## Time: {title}", "", f"| | MB | {' | '.join(names)} |", "|---" * (len(names) + 2) + "|"]
    for way, row in figures.items():
        cells = []
        for name in names:
            low, middle, high = row[name]["times_faster"]
            cells.append(f"{row[name]['milliseconds']:.2f} ms, {middle:.2f} ({low:.2f}-{high:.2f})")
        size = "" if row["megabytes"] is None else f"{row['megabytes']:.1f}"
        lines.append(f"| {way} | {size} | {' | '.join(cells)} |")
    return "\n".join(lines)


# --- accuracy ------------------------------------------------------------------------------------


class Run:
    """A run's model, and the episodes that it held out."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.config = from_dict(yaml.safe_load((folder / "config.yaml").read_text()))
        self.model = worldjepa.load(folder, device="cpu")
        self.data = find_episodes(self.config, folder)

    def rolled(self, way: Way) -> RolledOut:
        """Encode held-out windows and predict them from their beginnings."""
        stride = STEPS * self.config.model.action_block // 2
        held_out = self.data.held_out
        with (
            windows_in_order(self.config, self.data, held_out, num_steps=STEPS, stride=stride) as windows,
            way.running() as model,
        ):
            return roll_out(model, islice(windows, BATCHES), context=CONTEXT)

    def success(self, way: Way, episodes: int) -> dict[str, Any]:
        """Plan toward goals 25 steps ahead in held-out episodes."""
        precision = "bf16" if way.bf16 else "fp32"
        planning = replace(self.config.plan, protocol="lewm", episodes=episodes, precision=precision)
        env = environment(EnvConfig(), self.config.env, self.data.episodes)
        success = Success(planning.success)
        ground = Ground(
            self.data.episodes, self.data.held_out, env, success, planning.group, planning.past_end
        )
        return Judge(planning, ground, way.model, seed=0).ask_offset(25)


def accuracy(run: Run) -> Figures:
    """Return what each way's latents and predictions are worth."""
    there, figures = ways(run.model), {}
    expected = run.rolled(there["float32"])
    for name, way in there.items():
        found = run.rolled(way)
        figures[name] = {
            "latents": relative(found.latents, expected.latents),
            "predicted": relative(found.predicted[:, -1], expected.predicted[:, -1]),
            "errors": list(found.errors().predicted),
        }
    return figures


def planning(run: Run, name: str, episodes: int) -> Figures:
    """Return what one way's plans reach."""
    return {name: run.success(ways(run.model)[name], episodes)}


def accuracy_table(figures: Figures, plans: Figures) -> str:
    """Return accuracy as a table."""
    columns = ("latents differ", "predictions differ, 10 steps on")
    columns += ("squared error of predictions 1, 5, 10 steps on", "goals reached")
    lines = ["## Accuracy", "", f"| | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for name, row in figures.items():
        errors = ", ".join(f"{row['errors'][ahead - 1]:.4f}" for ahead in (1, 5, 10))
        share = ""
        if name in plans:
            low, high = plans[name]["wilson_low"], plans[name]["wilson_high"]
            share = f"{plans[name]['success_rate']:.1%} of {plans[name]['episodes']} ({low:.0%}-{high:.0%})"
        lines.append(f"| {name} | {row['latents']:.2%} | {row['predicted']:.2%} | {errors} | {share} |")
    return "\n".join(lines)


def relative(found: Tensor, expected: Tensor) -> float:
    """Return the norm of the difference as a share of the norm."""
    return float((found - expected).norm() / expected.norm())


def parts_of(run: Run, options: argparse.Namespace) -> dict[str, Callable[[], Figures]]:
    """Return what there is to measure, by title."""

    def timing(make: Callable[[], WorldModel]) -> Callable[[], Figures]:
        return lambda: time_figures(model := make(), measure(model, options.rounds, options.clock))

    config = run.config
    found = {f"time: the run ({config.experiment}, model={config.model.size})": timing(lambda: run.model)}
    for name, (experiment, *settings) in FRESH.items():
        made = partial(worldjepa.from_config, experiment, settings)
        found[f"time: {name} (fresh weights)"] = timing(lambda made=made: made().eval())
    found["accuracy"] = lambda: accuracy(run)
    for name in PLANNED if options.episodes else ():
        found[f"planning: {name}"] = partial(planning, run, name, options.episodes)
    return found


def report(circumstances: Mapping[str, str], cases: Mapping[str, Figures]) -> str:
    """Return the page of what has been measured so far."""
    head = [
        "# int8 weights on a CPU",
        "",
        *(f"- {name}: {value}" for name, value in circumstances.items()),
        "",
        f"Median time of a call, and how many times faster than {BASELINE} (quartiles over rounds); MB of",
        "all weights. Differences are from float32, as a share of the norm; squared errors as a share of the",
        "latents' variance.",
    ]
    plans = {
        name: row
        for title, case in cases.items()
        if title.startswith("planning")
        for name, row in case.items()
    }
    tables = [accuracy_table(cases["accuracy"], plans)] if "accuracy" in cases else []
    tables += [time_table(title[6:], case) for title, case in cases.items() if title.startswith("time: ")]
    return "\n\n".join(["\n".join(head), *tables]) + "\n"


def measured_before(out: str | None, circumstances: Mapping[str, str]) -> dict[str, Figures]:
    """Return the parts that an interrupted start of this command at this commit has measured."""
    path = Path(f"{out}.json")
    if out is None or not path.exists():
        return {}
    found = json.loads(path.read_text())
    same = all(found.get(name) == circumstances[name] for name in ("command", "commit"))
    return found["cases"] if same else {}


def main(argv: list[str] | None = None) -> int:
    """Measure as the words say; a start after an interruption goes on where it stood."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.int8", description=__doc__)
    parser.add_argument("--run", type=Path, required=True, help="folder of a trained world model")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clock", choices=CLOCKS, default="cpu")
    parser.add_argument("--episodes", type=int, default=50, help="goals to plan for (0: none)")
    parser.add_argument("--out", default=None, help="write OUT.md and OUT.json")
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    warnings.filterwarnings("ignore", message=".*deprecated and will be removed.*")
    words = f"--run RUN --rounds {options.rounds} --episodes {options.episodes}"
    circumstances = describe(f"python -m benchmarks.int8 {words}", options.threads, options.clock)
    run = Run(options.run)
    cases = measured_before(options.out, circumstances)
    for title, part in parts_of(run, options).items():
        if title not in cases:
            cases[title] = part()
            if options.out:
                write_results(circumstances, cases, report(circumstances, cases), options.out)
    sys.stdout.write(report(circumstances, cases))
    return 0


if __name__ == "__main__":
    sys.exit(main())
