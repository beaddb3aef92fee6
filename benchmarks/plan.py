"""How long does a plan take, from pixels, against stable-worldmodel's solver with its LeWM?

    python -m benchmarks.plan --out benchmarks/results/plan

Both make ten iterations of the cross-entropy method with 300 samples and 30 elites for one environment, from
3 frames and a goal of 224 px (``pip install stable-worldmodel transformers``, best into an environment of its
own). Encoders are ViT-tiny, predictors 6 layers of width 192, theirs in float32 as shipped. Inside, theirs
has 16 heads of 64 and an MLP of 2048 (LeWM, arXiv:2603.19312), so ours also stands against their code with
our inner widths. Their rollout takes the actions between the frames of the history from the front of the
plan: 5 plan steps after 3 frames are 3 predicted latents. So their solver is asked twice: for a horizon of 5,
and for 5 predicted latents, as many as ours makes.

All run in turn, round after round; ratios are taken within a round. The planner alone is the call less its
encoding. Where our bf16 and float32 predict different futures (2e-2 of the largest latent), or a plan's cost
is not that of its actions, no figure is printed and the exit status is 1.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor

from benchmarks.machine import describe
from benchmarks.public_planner import (
    ACTION,
    BLOCK,
    NARROW,
    PARTS,
    WIDE,
    Public,
    Task,
    Watched,
    count,
    draw_frames,
)
from benchmarks.stopwatch import CLOCKS
from benchmarks.table import divide, quartiles, write_results
from worldjepa.model.action_predictor import ActionPredictor
from worldjepa.model.encoder import VideoEncoder
from worldjepa.model.projector import Projector
from worldjepa.model.world_model import WorldModel
from worldjepa.planning import cem, goal_l2, rollout_cost
from worldjepa.types import ActionDist, Plan

TOLERANCE = 2e-2  # of the largest latent, bf16 against float32
BATCH_ROUNDS = 1  # a plan for 50 environments takes long enough
ROLLOUTS_AT_ONCE = 1500  # of a batch: the quickest of 600, 1500, 3000 and all; more leave the cache


class Ours(Watched):
    """``cem`` over ``rollout_cost``; bf16 is autocast: weights, latents and costs stay float32."""

    def __init__(self, task: Task, dtype: torch.dtype, clock: str):
        self.task, self.dtype, self.model = task, dtype, build_ours(task)
        assert self.model.predictor is not None
        self.parameters = (count(self.model.encoder), count(self.model.predictor))
        self.predicted = task.horizon
        self.frames = draw_frames(task)
        super().__init__(self.model, {"encode": "encode", "futures": "rollout"}, clock)
        self._cost = self._watched("cost", goal_l2)

    @torch.inference_mode()
    def plan(self) -> Plan:
        """Plan once, from pixels."""
        task, high = self.task, torch.ones(ACTION * BLOCK)
        with self.autocast():
            init = ActionDist.initial((-high, high), batch=task.envs, horizon=task.horizon)
            settings = {"iterations": task.iterations, "num_samples": task.samples, "num_elites": task.elites}
            generator = torch.Generator().manual_seed(0)
            return cem(self.cost_fn(), init, bounds=(-high, high), generator=generator, **settings)

    def cost_fn(self) -> Callable[[Tensor], Tensor]:
        """Encode context and goal; return the cost of candidates."""
        latents = self.model.encode(self.frames)
        context, goal = latents[:, :-1], latents[:, -1]
        past = torch.zeros(self.task.envs, self.task.history - 1, ACTION * BLOCK)
        at_once = None if self.task.envs == 1 else ROLLOUTS_AT_ONCE
        with self.watch.part("rollout"):  # reads the context
            return rollout_cost(
                self.model, context, goal, cost=self._cost, past_actions=past, max_rollouts=at_once
            )

    def autocast(self) -> torch.autocast:
        """Return the context of this precision."""
        return torch.autocast("cpu", torch.bfloat16, enabled=self.dtype == torch.bfloat16)


def build_ours(task: Task) -> WorldModel:
    """Build our model; weights of the predictor drawn so that no branch is gated shut."""
    torch.manual_seed(0)
    tokens = (task.image // task.patch) ** 2
    encoder = VideoEncoder(
        dim=task.dim,
        depth=task.encoder_depth,
        num_heads=3,
        patch_size=task.patch,
        tubelet_size=1,
        attention="step",
        # theirs maps one token: so the mean, not all tokens side by side
        projector=Projector(
            dim=task.dim, num_tokens=tokens, latent_dim=task.dim, hidden_dim=2048, pool="mean"
        ),
    )
    predictor = ActionPredictor(
        latent_dim=task.dim,
        action_dim=ACTION * BLOCK,
        dim=task.dim,
        depth=task.depth,
        num_heads=6,
        window=task.history,  # theirs sees the last 3 latents
    )
    for parameter in predictor.parameters():
        parameter.data.normal_(std=0.05)
    model = WorldModel(
        encoder=encoder,
        predictor=predictor,
        action_block=BLOCK,
        image_size=task.image,
        latent_norm="none",
    )
    return model.eval().requires_grad_(False)


def make_ours(task: Task, clock: str) -> dict[str, Ours]:
    """Return our ways."""
    dtypes = {"float32": torch.float32, "bf16": torch.bfloat16}
    return {f"worldjepa {name}": Ours(task, dtype, clock) for name, dtype in dtypes.items()}


def make_public(task: Task, clock: str) -> dict[str, Public]:
    """Return their ways: as shipped and with our inner widths, each asked in two ways."""
    longer = task.horizon + task.history - 1
    return {
        f"public{widths}, {horizon - task.history + 1} predicted": Public(task, inner, horizon, clock)
        for widths, inner in (("", WIDE), (" code, our widths", NARROW))
        for horizon in (task.horizon, longer)
    }


@torch.inference_mode()
def check(ours: Mapping[str, Ours], public: Mapping[str, Public]) -> None:
    """Raise ``ValueError`` unless all do what the tables say."""
    reference = next(iter(ours.values()))
    generator = torch.Generator().manual_seed(1)
    shape = (reference.task.envs, 8, reference.task.horizon, ACTION * BLOCK)
    actions, expected = 2 * torch.rand(shape, generator=generator) - 1, torch.empty(0)
    for name, way in ours.items():
        with way.autocast():
            found = way.model.rollout(way.model.encode(way.frames)[:, :-1], actions)
            plan, cost_fn = way.plan(), way.cost_fn()
            again = cost_fn(plan.actions.unsqueeze(1))[:, 0]
        expected = found if way is reference else expected
        gap = float((found - expected).abs().max() / expected.abs().max())
        if gap > TOLERANCE:
            raise ValueError(f"{name} predicts {gap:.1e} of the largest latent away from float32")
        if plan.cost.dtype != torch.float32 or not torch.allclose(again, plan.cost, rtol=TOLERANCE):
            raise ValueError(f"{name}: the plan costs {plan.cost}, its actions {again}")
    for name, way in public.items():
        way.milliseconds()
        if way.calls["rollout"] != way.predicted * way.solver.n_steps or way.calls["encode"] != 2:
            raise ValueError(f"{name}: it predicted and encoded {dict(way.calls)} times")


def compare(ways: Mapping[str, Watched], rounds: int) -> dict[str, dict[str, list[float]]]:
    """Run all in turn, which ``check`` has warmed up; return each one's milliseconds by part and round."""
    times: dict[str, dict[str, list[float]]] = {name: {} for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            for part, spent in way.milliseconds().items():
                times[name].setdefault(part, []).append(spent)
    return times


def report(
    ours: Mapping[str, Watched], public: Mapping[str, Watched], times: Mapping[str, dict[str, list[float]]]
) -> tuple[str, dict[str, Any]]:
    """Return one environment's tables and figures."""
    lines = ["| | latents predicted | M parameters: encoder, predictor | whole call | planner alone |"]
    lines.append("|---" * 5 + "|")
    figures: dict[str, Any] = {}
    for name, way in {**public, **ours}.items():
        figures[name] = {part: quartiles(spent) for part, spent in times[name].items()}
        encoder, predictor = (f"{number / 1e6:.1f}" for number in way.parameters)
        cells = " | ".join(f"{figures[name][part][1]:,.0f} ms" for part in ("whole", "planner"))
        lines.append(f"| {name} | {way.predicted} | {encoder}, {predictor} | {cells} |")
    columns = [(name, part) for part in ("whole", "planner") for name in ours]
    words = {"whole": "whole call", "planner": "planner alone"}
    heads = " | ".join(f"{name}, {words[part]}" for name, part in columns)
    lines += ["", f"| times faster than | {heads} |", "|---" * (len(columns) + 1) + "|"]
    for other in public:
        cells = []
        for name, part in columns:
            low, middle, high = quartiles(divide(times[other][part], times[name][part]))
            figures[name].setdefault("times_faster", {}).setdefault(other, {})[part] = (low, middle, high)
            cells.append(f"{middle:.1f} ({low:.1f}-{high:.1f})")
        lines.append(f"| {other} | {' | '.join(cells)} |")
    lines += ["", "| where the time goes, ms | encode | rollout | cost | sampling, refit, rest |"]
    lines.append("|---" * 5 + "|")
    for name, row in figures.items():
        lines.append(f"| {name} | {' | '.join(f'{row[part][1]:,.1f}' for part in (*PARTS, 'rest'))} |")
    return "\n".join(lines), figures


def batch_report(
    envs: int, one: Mapping[str, dict[str, list[float]]], many: Mapping[str, dict[str, list[float]]]
) -> tuple[str, dict[str, Any]]:
    """Return the table of a batch of environments: milliseconds an environment, beside one planned alone."""
    lines = [f"| ms an environment | one alone | {envs} in one batch | planner alone: one | {envs} |"]
    lines.append("|---" * 5 + "|")
    figures: dict[str, Any] = {}
    for name, parts in many.items():
        row = {}
        for part in ("whole", "planner"):
            row[part] = quartiles(one[name][part])[1], quartiles(parts[part])[1] / envs
        figures[name] = row
        cells = [f"{value:,.0f}" for part in ("whole", "planner") for value in row[part]]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines), figures


def main(argv: list[str] | None = None) -> int:
    """Measure as the words say."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.plan",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--envs", type=int, default=50, help="environments of the batch")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: on a shared machine")
    parser.add_argument("--out", help="write <out>.md and <out>.json, such as benchmarks/results/plan")
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    task = Task()
    ours, public = make_ours(task, options.clock), make_public(task, options.clock)
    check(ours, public)
    times = compare({**public, **ours}, options.rounds)
    text, figures = report(ours, public, times)
    together = make_ours(replace(task, envs=options.envs), options.clock)
    many = compare(together, min(BATCH_ROUNDS, options.rounds))
    batch, batch_figures = batch_report(options.envs, times, many)
    command = "python -m benchmarks.plan " + " ".join(sys.argv[1:] if argv is None else argv)
    circumstances = describe(command, options.threads, options.clock) | {"rounds": str(options.rounds)}
    names = ("torch", "transformers", "stable-worldmodel")
    circumstances["versions"] = ", ".join(f"{name} {version(name)}" for name in names)
    named = "\n".join(f"- {key}: {value}" for key, value in circumstances.items())
    title = "# A plan from pixels, ours and stable-worldmodel's"
    text = (
        f"{title}\n\n{named}\n\n## One environment\n\n{text}\n\n## {options.envs} environments\n\n{batch}\n"
    )
    sys.stdout.write(text + "\n")
    if options.out:
        write_results(circumstances, {"one": figures, "batch": batch_figures}, text + "\n", options.out)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(1)
