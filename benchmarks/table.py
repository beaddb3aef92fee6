"""From measured rounds to a table for people and the same figures for programs."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

BASELINE = "public fp32"


class Rounds(Protocol):
    """What a table needs of one step's measurement."""

    flops: float
    losses: list[float]

    def seconds(self, part: str) -> list[float]:
        """Return the seconds of a part in every round."""
        ...


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the lower quartile, the median and the upper quartile."""
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def divide(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """Return the quotients round by round."""
    return [a / b for a, b in zip(above, below, strict=True)]


def summarise(
    results: Mapping[str, Rounds], peaks: Mapping[str, list[float]], parts: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Return, for each step: ms by part, GFLOP/s, share of the peak, and times faster than the public step.

    Shares and ratios are taken within a round and given as quartiles.
    """
    summary, columns, base = {}, ("step", *parts), results[BASELINE]
    for name, result in results.items():
        step = result.seconds("step")
        speeds = [result.flops / seconds for seconds in step]
        peak = peaks[name.split()[-1]]
        summary[name] = {
            "milliseconds": {part: [1e3 * q for q in quartiles(result.seconds(part))] for part in columns},
            "gflop": result.flops / 1e9,
            "gflop_per_second": [q / 1e9 for q in quartiles(speeds)],
            "peak_gflop_per_second": [q / 1e9 for q in quartiles(peak)],
            "share_of_peak": quartiles(divide(speeds, peak)),
            "times_faster": {
                part: quartiles(divide(base.seconds(part), result.seconds(part))) for part in columns
            },
            "losses": result.losses,
        }
    return summary


def markdown(title: str, summary: Mapping[str, dict[str, Any]], parts: Sequence[str]) -> str:
    """Return one case as two tables: milliseconds by part with the speed, then the ratios."""
    columns = ("step", *parts)
    lines = [f"## {title}", "", f"| median ms | {' | '.join(columns)} | GFLOP | GFLOP/s | share of peak |"]
    lines.append("|---" * (len(columns) + 4) + "|")
    for name, row in summary.items():
        times = " | ".join(f"{row['milliseconds'][part][1]:.1f}" for part in columns)
        speed, peak = row["gflop_per_second"][1], row["peak_gflop_per_second"][1]
        share = f"{100 * row['share_of_peak'][1]:.0f} % of {peak:.0f}"
        lines.append(f"| {name} | {times} | {row['gflop']:.1f} | {speed:.0f} | {share} |")
    lines += [
        "",
        f"| times faster than {BASELINE} | {' | '.join(columns)} |",
        "|---" * (len(columns) + 1) + "|",
    ]
    for name, row in summary.items():
        if name != BASELINE:
            cells = [
                f"{m:.2f} ({low:.2f}-{high:.2f})"
                for low, m, high in (row["times_faster"][p] for p in columns)
            ]
            lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def write_results(
    circumstances: Mapping[str, str], cases: Mapping[str, dict[str, Any]], text: str, out: str
) -> None:
    """Write ``<out>.md`` and ``<out>.json``."""
    path = Path(out)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".md").write_text(text)
    path.with_suffix(".json").write_text(json.dumps({**circumstances, "cases": cases}, indent=1) + "\n")
