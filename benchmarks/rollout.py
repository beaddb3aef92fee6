"""How much faster is ``rollout`` with its cache than running the whole sequence again for every step?

    python -m benchmarks.rollout

Running it all again is what V-JEPA 2-AC's public code does to plan. Both ways predict the same futures from
the same weights (6 layers of width 192, no window): they must agree, float32 to 1e-5 and bf16 to 2e-2 of the
largest latent, or no figure is printed and the exit status is 1. A case is context:tokens:candidates:horizon.
The ways run in turn, round after round; ratios are taken within a round, medians and quartiles reported. Then
the cached rollout's time over horizon, candidates and tokens, as a table and a plot, and the memory that each
way adds at its peak.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.machine import describe
from benchmarks.stopwatch import CLOCKS, Stopwatch
from benchmarks.table import divide, quartiles, write_results
from worldjepa.model.action_predictor import ActionPredictor
from worldjepa.model.encoder import normalise_latents
from worldjepa.model.rollout import predict_futures

CASES = ("8:16:64:16", "8:16:300:8", "3:16:64:16", "3:16:300:8", "1:16:64:16", "1:16:300:8", "3:1:300:5")
GROWTH = {
    "horizon": ["8:16:64:1", "8:16:64:2", "8:16:64:4", "8:16:64:8", "8:16:64:16", "8:16:64:32"],
    "candidates": ["8:16:4:8", "8:16:16:8", "8:16:64:8", "8:16:256:8"],
    "tokens": ["8:1:64:8", "8:4:64:8", "8:16:64:8", "8:64:64:8"],
}
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2}
LATENT, ACTION = 192, 10
BASELINE = "recomputed float32"


@dataclass(frozen=True)
class Case:
    """One context and how it is rolled out."""

    context: int
    tokens: int
    candidates: int
    horizon: int

    @classmethod
    def parse(cls, text: str) -> Case:
        """Read ``context:tokens:candidates:horizon``."""
        numbers = text.split(":")
        if len(numbers) != 4 or not all(number.isdigit() and int(number) for number in numbers):
            raise argparse.ArgumentTypeError(
                f"a case is context:tokens:candidates:horizon, such as 8:16:64:16, got {text!r}"
            )
        return cls(*map(int, numbers))

    def title(self) -> str:
        """Return the case in words."""
        return (
            f"{self.context} context steps of {self.tokens} tokens, {self.candidates} candidates, "
            f"{self.horizon} steps"
        )

    def inputs(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return latents, past actions and candidates."""
        generator = torch.Generator().manual_seed(0)
        draw = lambda *shape: torch.randn(*shape, generator=generator)  # noqa: E731
        latents = normalise_latents(draw(1, self.context, self.tokens, LATENT), "layer")
        return latents, draw(1, self.context - 1, ACTION), draw(1, self.candidates, self.horizon, ACTION)

    def predictor(self) -> ActionPredictor:
        """Build the predictor with weights drawn so that no branch is gated shut."""
        torch.manual_seed(0)
        side = round(self.tokens**0.5)
        grid = (side, side) if side * side == self.tokens else (1, self.tokens)
        model = ActionPredictor(
            latent_dim=LATENT, action_dim=ACTION, grid=grid, dim=192, depth=6, num_heads=6
        )
        for parameter in model.parameters():
            parameter.data.normal_(std=0.05)
        return model.eval()


def norm(latents: Tensor) -> Tensor:
    """Apply the latent space's norm."""
    return normalise_latents(latents, "layer")


def cached(model: ActionPredictor, case: Case) -> Tensor:
    """Predict with the cache."""
    latents, past, actions = case.inputs()
    return predict_futures(model, latents, actions, norm=norm, past_actions=past)[0]


def recomputed(model: ActionPredictor, case: Case) -> Tensor:
    """Predict by running each candidate's whole sequence again for every step."""
    latents, past, actions = case.inputs()
    latents = latents.expand(case.candidates, -1, -1, -1)
    taken = torch.cat([past.expand(case.candidates, -1, -1), actions[0]], dim=1)
    for step in range(case.horizon):
        latest = norm(model(latents, taken[:, : case.context + step])[:, -1:])
        latents = torch.cat([latents, latest], dim=1)
    return latents[:, case.context :]


WAYS: dict[str, tuple[Callable[[ActionPredictor, Case], Tensor], torch.dtype]] = {
    BASELINE: (recomputed, torch.float32),
    "cached float32": (cached, torch.float32),
    "cached bf16": (cached, torch.bfloat16),
}


@torch.inference_mode()
def seconds(name: str, model: ActionPredictor, case: Case, watch: Stopwatch) -> tuple[float, Tensor]:
    """Run one way once."""
    way, dtype = WAYS[name]
    watch.seconds.clear()
    with watch.part(name), torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        found = way(model, case)
    return watch.seconds[name], found


def measure(case: Case, rounds: int, clock: str) -> dict[str, list[float]]:
    """Return the seconds of every way in every round.

    Raises:
        ValueError: the ways do not predict the same.
    """
    model, watch = case.predictor(), Stopwatch(clock)
    expected = seconds(BASELINE, model, case, watch)[1]
    for name, (_, dtype) in WAYS.items():
        found = seconds(name, model, case, watch)[1]
        gap = float((found - expected).abs().max() / expected.abs().max())
        if gap > TOLERANCE[dtype]:
            raise ValueError(f"{case.title()}: {name} is {gap:.1e} of the largest latent from {BASELINE}")
    times: dict[str, list[float]] = {name: [] for name in WAYS}
    for _ in range(rounds):
        for name, spent in times.items():
            spent.append(seconds(name, model, case, watch)[0])
    return times


def growth(rounds: int, clock: str) -> dict[str, dict[str, list[float]]]:
    """Return the seconds of the cached rollout in float32 for every size along each axis."""
    watch, found = Stopwatch(clock), {}
    cases = {text: Case.parse(text) for texts in GROWTH.values() for text in texts}
    models = {text: case.predictor() for text, case in cases.items()}
    times: dict[str, list[float]] = {text: [] for text in cases}
    for turn in range(rounds + 1):
        for text, case in cases.items():
            spent = seconds("cached float32", models[text], case, watch)[0]
            if turn:  # the first is warm-up
                times[text].append(spent)
    for axis, texts in GROWTH.items():
        found[axis] = {text: times[text] for text in texts}
    return found


def peak_memory(name: str, case: str) -> float:
    """Return the MiB that one rollout adds to the peak of a fresh process."""
    words = [sys.executable, "-m", "benchmarks.rollout", "--memory-of", name, case]
    return float(subprocess.run(words, capture_output=True, text=True, check=True).stdout)


def print_memory(name: str, case: Case) -> int:
    """Print the MiB that a rollout adds to this process's peak (a small one runs first)."""
    model, watch = case.predictor(), Stopwatch()
    seconds(name, model, Case(case.context, case.tokens, 1, 1), watch)
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten (proc(5))
    before = peak_resident()
    seconds(name, model, case, watch)
    sys.stdout.write(f"{peak_resident() - before:.1f}\n")
    return 0


def peak_resident() -> float:
    """Return the MiB of this process's largest resident set."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def report(case: Case, times: dict[str, list[float]]) -> tuple[str, dict]:
    """Return a case as a table and as figures."""
    head = ["| | median ms | times faster |", "|---|---|---|"]
    lines, figures = [f"## {case.title()}", "", *head], {}
    for name, spent in times.items():
        low, middle, high = quartiles(divide(times[BASELINE], spent))
        milliseconds = 1e3 * quartiles(spent)[1]
        lines.append(f"| {name} | {milliseconds:.1f} | {middle:.1f} ({low:.1f}-{high:.1f}) |")
        figures[name] = {"milliseconds": milliseconds, "times_faster": [low, middle, high]}
    return "\n".join(lines), figures


def memory_table(case: Case) -> str:
    """Return what each way of one case adds to the peak of a process, as a table."""
    text = ":".join(map(str, vars(case).values()))
    cells = " | ".join(f"{peak_memory(name, text):.0f} MiB" for name in WAYS)
    names = " | ".join(WAYS)
    return f"## Memory at the peak: {case.title()}\n\n| {names} |\n{'|---' * len(WAYS)}|\n| {cells} |"


def growth_table(found: dict[str, dict[str, list[float]]]) -> str:
    """Return the growth of time along each axis as tables."""
    parts = ["## Growth of the cached rollout, float32"]
    for axis, times in found.items():
        sizes = [str(getattr(Case.parse(text), axis)) for text in times]
        cells = [f"{1e3 * quartiles(spent)[1]:.1f}" for spent in times.values()]
        others = next(iter(times)).replace(":", ", ")
        parts.append(
            f"| {axis} | {' | '.join(sizes)} |\n{'|---' * (len(sizes) + 1)}|\n"
            f"| median ms | {' | '.join(cells)} |\n\n"
            f"(first column: {others} as context, tokens, candidates, horizon)"
        )
    return "\n\n".join(parts)


def draw(found: dict[str, dict[str, list[float]]], path: Path) -> None:
    """Plot the growth of time along each axis."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(found), figsize=(12, 3.6), sharey=True)
    for plot, (axis, times) in zip(axes, found.items(), strict=True):
        sizes = [getattr(Case.parse(text), axis) for text in times]
        milliseconds = [1e3 * quartiles(spent)[1] for spent in times.values()]
        plot.plot(sizes, milliseconds, marker="o", label="measured")
        linear = [milliseconds[-1] * size / sizes[-1] for size in sizes]
        plot.plot(sizes, linear, linestyle=":", color="grey", label="proportional")
        plot.set(xlabel=axis, xscale="log", yscale="log")
        plot.grid(alpha=0.3)
    axes[0].set_ylabel("ms a rollout")
    axes[0].legend()
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def main(argv: list[str] | None = None) -> int:
    """Measure as the words say."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rollout", description=__doc__)
    parser.add_argument("cases", nargs="*", type=Case.parse, default=[Case.parse(text) for text in CASES])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--out", default=None, help="write OUT.md, OUT.json and OUT.png")
    parser.add_argument("--memory-of", choices=WAYS, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    if options.memory_of:
        return print_memory(options.memory_of, options.cases[0])
    words = sys.argv[1:] if argv is None else argv
    command = " ".join(["python -m benchmarks.rollout", *words])
    circumstances = describe(command, options.threads, options.clock)
    parts, figures = [], {}
    for case in options.cases:
        times = measure(case, options.rounds, options.clock)
        table, figures[case.title()] = report(case, times)
        parts.append(table)
        sys.stdout.write(table + "\n\n")
        sys.stdout.flush()
    found = growth(options.rounds, options.clock)
    parts += [growth_table(found), memory_table(options.cases[0])]
    sys.stdout.write("\n\n".join(parts[-2:]) + "\n")
    if options.out:
        draw(found, Path(options.out).with_suffix(".png"))
        lines = [
            "# Rollout: cached against recomputed",
            "",
            *(f"- {k}: {v}" for k, v in circumstances.items()),
        ]
        head = "\n".join(lines)
        picture = f"![growth of time]({Path(options.out).name}.png)"
        write_results(circumstances, figures, "\n\n".join([head, *parts, picture]) + "\n", options.out)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(1)
