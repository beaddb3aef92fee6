"""Does predicting latents ignore what cannot be predicted, where reconstructing pixels spends itself on it?

    python -m benchmarks.prediction_vs_reconstruction --out benchmarks/results/prediction_vs_reconstruction

Trains the same encoder by each method on the built-in corpus, of whose background a growing share is new in
every frame (``python -m worldjepa.train +experiment=kinetics objective=METHOD``), and probes its frozen
latents of held-out clips for the kind of motion. Every run has the same training compute: operations of a
step are counted, and the steps chosen so that the total is the same. Runs that are finished are kept, stopped
ones continued; ``--minutes`` begins no run after so many, and the table is made of what is there. The methods
that are not swept are measured at one share, with the first seed.
"""

from __future__ import annotations

import argparse
import functools
import json
import shlex
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.commands import call
from benchmarks.flops import flops_per_step
from benchmarks.machine import describe
from benchmarks.table import write_results
from worldjepa.data.clips.corpus import ensure_corpus
from worldjepa.data.clips.scenes import CorpusSettings

SHARED = ["+experiment=kinetics", "device=cpu", "model=nano", "train.batch_size=32"]
LENGTH = ["train.checkpoint_every=100", "train.log_every=50", "train.picture_every=100000"]
METHODS: dict[str, list[str]] = {
    "V-JEPA": ["objective=vjepa"],
    "MAE": ["objective=mae", "masking=future"],
    "AE": ["objective=autoencoder"],
    "VAE": ["objective=vae"],
    "MAE, tubes": ["objective=mae"],
    "I-JEPA": ["objective=ijepa"],
    "BYOL": ["objective=byol"],
}
SWEPT = ("V-JEPA", "MAE", "AE", "VAE")
SHARES = (0.0, 0.4, 0.8)
OTHERS_AT = 0.4  # the share at which the other methods are measured
STEPS = 600  # of V-JEPA, whose compute is everybody's: below 2 minutes a run on one core
ABOUT = """\
One encoder (nano, 64 px, 8 frames), trained by each method on the built-in corpus with the same data,
optimiser and training compute; then frozen, and the kind of motion (8 kinds) read from its latents of
held-out clips, in % of 400. Noise: the share of the background that is new in every frame. Mean over
seeds (lowest-highest). MAE has the masks of V-JEPA (later frames are hidden), and in a row of its own
its tubes. Decoders are of the size of V-JEPA's predictor.
"""


@dataclass(frozen=True)
class Run:
    """One training run: by a method, at a share of noise, from a seed, so many steps."""

    method: str
    share: float
    seed: int
    steps: int

    @property
    def name(self) -> str:
        """The name of its folder."""
        method = self.method.lower().replace(", ", "_").replace("-", "")
        return f"{method}_{self.share:g}_{self.seed}_{self.steps}"

    def words(self) -> list[str]:
        """Return its settings, but for files and folder."""
        return [*SHARED, *METHODS[self.method], *LENGTH, f"seed={self.seed}", f"train.steps={self.steps}"]


def equal_steps(steps: int) -> tuple[dict[str, int], dict[str, float]]:
    """Return the steps of each method that take the compute of ``steps`` of V-JEPA, and GFLOP a step."""
    flops = {name: flops_per_step([*SHARED, *words]) for name, words in METHODS.items()}
    total = steps * flops["V-JEPA"]
    return {name: round(total / each) for name, each in flops.items()}, {n: f / 1e9 for n, f in flops.items()}


def plan(steps: dict[str, int], shares: Sequence[float], seeds: Sequence[int], others: bool) -> list[Run]:
    """Return the runs: a whole table of one seed first, which the methods of one share are measured with."""
    swept = [(name, share, seed) for seed in seeds for share in shares for name in SWEPT]
    once = [(name, OTHERS_AT, seeds[0]) for name in METHODS if name not in SWEPT] if others else []
    first = len(SWEPT) * len(shares)
    return [Run(*case, steps[case[0]]) for case in (*swept[:first], *once, *swept[first:])]


def carry_out(run: Run, folder: Path, corpora: Path | None) -> dict[str, Any] | None:
    """Train and probe, unless that was done; return what was found, None if a signal stopped it."""
    run_dir = folder / run.name
    if not (run_dir / "labels.json").exists():
        settings = CorpusSettings(noise=run.share)
        root = prepared(ensure_corpus(corpora, settings), folder, settings.size)
        began = time.monotonic()
        call("worldjepa.train", *run.words(), f"data.root={root}", f"run.dir={run_dir}")
        if not (run_dir / "labels.json").exists():
            return None
        (run_dir / "minutes.json").write_text(json.dumps((time.monotonic() - began) / 60))
    return found_in(run_dir)


@functools.cache
def prepared(corpus: Path, folder: Path, size: int) -> Path:
    """Return a store of the corpus with its frames as they are: the same samples, and nothing to decode."""
    store = folder / f"store-{corpus.name}"
    call("worldjepa.prepare", f"data.root={corpus}", f"out={store}", f"data.size={size}", "prepare.raw=true")
    return store


def found_in(run_dir: Path) -> dict[str, Any]:
    """Return what a finished run left: accuracies, and minutes of its last start."""
    found = json.loads((run_dir / "labels.json").read_text())
    minutes = run_dir / "minutes.json"
    return found | {"minutes": json.loads(minutes.read_text()) if minutes.exists() else None}


def summarise(runs: dict[Run, dict[str, Any]]) -> dict[str, dict[str, dict[str, Any]]]:
    """Return by method and share the accuracies of the seeds; with what needs no training beside them."""
    cases: dict[str, dict[str, dict[str, Any]]] = {}
    for run, found in runs.items():
        rows = {run.method: found["trained"]}
        rows |= {"untrained encoder": found["untrained"], "raw pixels": found["pixels"]}
        for name, score in rows.items():
            if name != run.method and run.method != "V-JEPA":
                continue  # the same for all methods but I-JEPA, whose encoder sees each frame alone
            case = cases.setdefault(name, {}).setdefault(f"{run.share:g}", {"linear": {}, "knn": {}})
            for probe in ("linear", "knn"):
                case[probe][str(run.seed)] = score[probe]
            case["minutes"] = case.get("minutes", []) + [found["minutes"]]
    return cases


def mean_and_ends(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the mean, the lowest and the highest."""
    return statistics.fmean(values), min(values), max(values)


def cell(values: Sequence[float]) -> str:
    """Return a mean in percent, with the lowest and highest seed."""
    mean, low, high = (100 * x for x in mean_and_ends(values))
    return f"{mean:.1f} ({low:.1f}-{high:.1f})" if len(values) > 1 else f"{mean:.1f}"


def table(cases: dict[str, Any], probe: str, steps: dict[str, int], gflop: dict[str, float]) -> list[str]:
    """Return the accuracies of one probe as lines of markdown."""
    shares = sorted({share for rows in cases.values() for share in rows}, key=float)
    heads = [f"{100 * float(share):.0f} % noise" for share in shares]
    lines = [f"| {probe} | {' | '.join(heads)} | seeds | steps | GFLOP a step |"]
    lines.append("|---" * (len(shares) + 4) + "|")
    for name in [*METHODS, "untrained encoder", "raw pixels"]:
        if name not in cases:
            continue
        rows = {share: list(case[probe].values()) for share, case in cases[name].items()}
        cells = [cell(rows[share]) if share in rows else "" for share in shares]
        counts = [str(steps[name]), f"{gflop[name]:.1f}"] if name in steps else ["", ""]
        lines.append(f"| {name} | {' | '.join([*cells, str(max(map(len, rows.values()))), *counts])} |")
    return lines


def verdict(cases: dict[str, Any]) -> list[str]:
    """Return in words what noise did to the methods that were swept, by the linear probe."""
    said = []
    for name in (name for name in SWEPT if name in cases):
        rows = {float(share): case["linear"].values() for share, case in cases[name].items()}
        least, most = min(rows), max(rows)
        before, after = (100 * statistics.fmean(rows[share]) for share in (least, most))
        if least < most:
            said.append(
                f"- {name}: {before:.1f} at {100 * least:.0f} % noise, {after:.1f} at {100 * most:.0f} %: "
                f"{after - before:+.1f} points"
            )
    return said


def report(
    circumstances: dict[str, str],
    cases: dict[str, Any],
    steps: dict[str, int],
    gflop: dict[str, float],
    out: str,
) -> str:
    """Return the page."""
    total = steps["V-JEPA"] * gflop["V-JEPA"] / 1e3
    spent = [m for rows in cases.values() for case in rows.values() for m in case["minutes"] if m is not None]
    lines = [
        "# Prediction and reconstruction, where part of the picture cannot be predicted",
        "",
        ABOUT,
        *(f"- {name}: {value}" for name, value in circumstances.items()),
        f"- training compute: {total:.1f} TFLOP a run, by torch's FLOP counter: forward and backward pass, "
        "target encoder, predictor and decoder included",
    ]
    if spent:
        lines.append(
            f"- minutes a run, with evaluation: {statistics.median(spent):.1f} (at most {max(spent):.1f})"
        )
    for probe in ("linear", "knn"):
        lines += ["", *table(cases, probe, steps, gflop)]
    lines += ["", "What noise does to the linear probe:", "", *verdict(cases)]
    lines += ["", f"![accuracy over noise]({Path(out).name}.png)", ""]
    return "\n".join(lines)


def draw(cases: dict[str, Any], path: Path) -> None:
    """Plot the linear probe over the share of noise."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, plot = plt.subplots(figsize=(7.5, 4.2))
    for name, rows in cases.items():
        shares = sorted(rows, key=float)
        scores = [mean_and_ends(list(rows[share]["linear"].values())) for share in shares]
        mean, low, high = ([100 * score[i] for score in scores] for i in range(3))
        ends = [[abs(m - x) for m, x in zip(mean, edge, strict=True)] for edge in (low, high)]
        style = ":" if name in ("untrained encoder", "raw pixels") else "-"
        across = [100 * float(share) for share in shares]
        plot.errorbar(across, mean, ends, label=name, marker="o", capsize=3, ls=style)
    plot.set(xlabel="background that cannot be predicted (%)", ylabel="linear probe of the motion (%)")
    plot.set_ylim(0, 100)
    plot.axhline(12.5, color="grey", lw=0.8, label="chance")
    plot.grid(alpha=0.3)
    plot.legend(bbox_to_anchor=(1.02, 1), loc="upper left", frameon=False)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure as the words say."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("runs/prediction_vs_reconstruction"))
    parser.add_argument("--corpora", type=Path, default=None, help="where corpora are rendered to")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--shares", type=float, nargs="+", default=list(SHARES))
    parser.add_argument("--steps", type=int, default=STEPS, help="of V-JEPA; the others' follow")
    parser.add_argument("--swept-only", action="store_true", help="leave out the methods of one share")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no run after so many")
    parser.add_argument("--threads", type=int, default=1, help="named in the table; set OMP_NUM_THREADS")
    parser.add_argument("--out", help="write OUT.md, OUT.json and OUT.png")
    options = parser.parse_args(argv)
    steps, gflop = equal_steps(options.steps)
    began, runs = time.monotonic(), {}
    for run in plan(steps, options.shares, options.seeds, not options.swept_only):
        late = time.monotonic() - began > 60 * options.minutes
        if late and not (options.folder / run.name / "labels.json").exists():
            continue
        found = carry_out(run, options.folder, options.corpora)
        if found is None:
            return 0  # the same command goes on
        runs[run] = found
    words = sys.argv[1:] if argv is None else argv
    command = f"python -m benchmarks.prediction_vs_reconstruction {shlex.join(words)}"
    about, cases = describe(command, options.threads, "wall"), summarise(runs)
    text = report(about, cases, steps, gflop, options.out or "")
    sys.stdout.write(text)
    if options.out:
        draw(cases, Path(f"{options.out}.png"))
        write_results(about, {"methods": cases, "steps": steps, "gflop_per_step": gflop}, text, options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
