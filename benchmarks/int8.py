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
import contextlib
import copy
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn

import worldjepa
from benchmarks.machine import describe
from benchmarks.stopwatch import CLOCKS, Stopwatch
from benchmarks.table import divide, quartiles, write_results
from worldjepa.config_env import EnvConfig
from worldjepa.evaluation.goals import Ground
from worldjepa.evaluation.rollouts import RolledOut, roll_out
from worldjepa.evaluation.success import Success
from worldjepa.model.layers.block import Block
from worldjepa.model.layers.modulation import AdaLN
from worldjepa.model.quantize import Int8Linear, quantized, weight_bytes
from worldjepa.model.world_model import WorldModel
from worldjepa.plan_judge import Judge
from worldjepa.planning_outcome import environment
from worldjepa.run_episodes import find_episodes, windows_in_order
from worldjepa.schema import from_dict

BASELINE = "bf16"
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
MINIMUM_S = 0.05  # processor time of one measurement


@dataclass(frozen=True)
class Way:
    """A model, and whether its products are made under bf16 autocast."""

    model: WorldModel
    bf16: bool = False

    @contextlib.contextmanager
    def running(self) -> Iterator[WorldModel]:
        """Yield the model, in its precision, without gradients."""
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            yield self.model


class FbgemmLinear(nn.Module):
    """torch's dynamically quantised linear map: int8 activations with one scale for all rows."""

    def __init__(self, linear: Int8Linear):
        super().__init__()
        weight, zeros = linear.weight * linear.scale.unsqueeze(1), torch.zeros(len(linear.scale)).long()
        packed = torch.quantize_per_channel(weight, linear.scale.double(), zeros, 0, torch.qint8)
        self.packed = torch.ops.quantized.linear_prepack(packed, linear.bias)

    def forward(self, input: Tensor, *, gelu: bool = False) -> Tensor:
        """Map the last axis; apply GELU if asked."""
        out = torch.ops.quantized.linear_dynamic(input.float(), self.packed)
        return (nn.functional.gelu(out) if gelu else out).to(input.dtype)


def fbgemm(model: WorldModel) -> WorldModel:
    """Return a copy whose int8 maps are fbgemm's."""
    model, torch.backends.quantized.engine = quantized(model), "fbgemm"
    for part in list(model.modules()):
        for name, child in list(part.named_children()):
            if isinstance(child, Int8Linear):
                setattr(part, name, FbgemmLinear(child))
    return model


def bf16(model: WorldModel) -> WorldModel:
    """Return a copy whose transformer blocks keep their weights in bf16: autocast has nothing to convert."""
    model = copy.deepcopy(model)
    for part in model.modules():
        if isinstance(part, Block | AdaLN):
            for child in part.modules():
                if isinstance(child, nn.Linear):
                    child.to(torch.bfloat16)
    return model


def ways(model: WorldModel) -> dict[str, Way]:
    """Return every way to run a model."""
    return {
        "float32": Way(model),
        BASELINE: Way(bf16(model), bf16=True),
        "int8 weights": Way(quantized(model)),
        "int8 weights and activations": Way(quantized(model, "activations")),
        "the same by fbgemm": Way(fbgemm(model)),
    }


# --- time ----------------------------------------------------------------------------------------


def calls(model: WorldModel) -> dict[str, Callable[[WorldModel], Tensor]]:
    """Return what is timed: an observation, a batch of them, one rollout, many."""
    generator = torch.Generator().manual_seed(0)
    assert model.predictor is not None
    per, side, width = model.encoder.frames_per_step, model.image_size, model.predictor.action_dim
    several, many = (16, 128) if model.predictor.grid.p == 1 else (4, 8)
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


def time_table(title: str, model: WorldModel, times: dict[str, dict[str, list[float]]]) -> tuple[str, dict]:
    """Return times as a table and as figures; ratios are to ``BASELINE``."""
    there, figures = ways(model), {}
    lines = [f"## Time: {title}", "", f"| | MB | {' | '.join(times)} |", "|---" * (len(times) + 2) + "|"]
    for way, variant in there.items():
        cells = []
        for call, spent in times.items():
            low, middle, high = quartiles(divide(spent[BASELINE], spent[way]))
            milliseconds = 1e3 * quartiles(spent[way])[1]
            cells.append(f"{milliseconds:.2f} ms, {middle:.2f} ({low:.2f}-{high:.2f})")
            figures[f"{way}, {call}"] = {"milliseconds": milliseconds, "times_faster": [low, middle, high]}
        counted = (
            there["int8 weights"] if "fbgemm" in way else variant
        )  # whose packed weights cannot be counted
        lines.append(f"| {way} | {weight_bytes(counted.model) / 1e6:.1f} | {' | '.join(cells)} |")
    return "\n".join(lines), figures


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


def accuracy(run: Run, episodes: int) -> tuple[str, dict]:
    """Return what each way's latents, predictions and plans are worth, as a table and as figures."""
    there, figures = ways(run.model), {}
    expected = run.rolled(there["float32"])
    lines = [
        "## Accuracy",
        "",
        "| | latents differ | predictions differ, 10 steps on | squared error of predictions 1, 5, 10 steps "
        f"on | goals reached of {episodes} |",
        "|---|---|---|---|---|",
    ]
    for name, way in there.items():
        found = run.rolled(way)
        latents = relative(found.latents, expected.latents)
        predicted = relative(found.predicted[:, -1], expected.predicted[:, -1])
        errors = found.errors().predicted
        reached = run.success(way, episodes) if episodes else None
        share = "not asked"
        if reached is not None:
            share = (
                f"{reached['success_rate']:.1%} ({reached['wilson_low']:.0%}-{reached['wilson_high']:.0%})"
            )
        shown = ", ".join(f"{errors[ahead - 1]:.4f}" for ahead in (1, 5, 10))
        lines.append(f"| {name} | {latents:.2%} | {predicted:.2%} | {shown} | {share} |")
        figures[name] = {"latents": latents, "predicted": predicted, "errors": errors, "planning": reached}
        sys.stdout.write(lines[-1] + "\n")
        sys.stdout.flush()
    return "\n".join(lines), figures


def relative(found: Tensor, expected: Tensor) -> float:
    """Return the norm of the difference as a share of the norm."""
    return float((found - expected).norm() / expected.norm())


def main(argv: list[str] | None = None) -> int:
    """Measure as the words say."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.int8", description=__doc__)
    parser.add_argument("--run", type=Path, required=True, help="folder of a trained world model")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clock", choices=CLOCKS, default="cpu")
    parser.add_argument("--episodes", type=int, default=100, help="goals to plan for (0: none)")
    parser.add_argument("--out", default=None, help="write OUT.md and OUT.json")
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    warnings.filterwarnings("ignore", message=".*deprecated and will be removed.*")
    words = ["--run", "RUN" if argv is None else str(options.run), "--episodes", str(options.episodes)]
    circumstances = describe(" ".join(["python -m benchmarks.int8", *words]), options.threads, options.clock)
    run = Run(options.run)
    models = {f"the run ({run.config.experiment}, model={run.config.model.size})": run.model} | {
        f"{name} (fresh weights)": worldjepa.from_config(settings[0], list(settings[1:])).eval()
        for name, settings in FRESH.items()
    }
    parts, figures = [], {}
    for title, model in models.items():
        table, figures[title] = time_table(title, model, measure(model, options.rounds, options.clock))
        parts.append(table)
        sys.stdout.write(table + "\n\n")
        sys.stdout.flush()
    table, figures["accuracy"] = accuracy(run, options.episodes)
    head = [
        "# int8 weights on a CPU",
        "",
        *(f"- {name}: {value}" for name, value in circumstances.items()),
        "",
        f"Median time of a call, and how many times faster than {BASELINE} (quartiles over rounds); MB of",
        "all weights. Differences are from float32, as a share of the norm; squared errors as a share of the",
        "latents' variance.",
    ]
    if options.out:
        write_results(
            circumstances, figures, "\n\n".join(["\n".join(head), table, *parts]) + "\n", options.out
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
