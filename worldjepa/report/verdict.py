"""Is the run healthy? In words, by the same rules that raise the alarm while it trains."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields

from worldjepa.config import WORLD_KINDS
from worldjepa.report.record import RunRecord
from worldjepa.training.alarm import CollapseAlarm, HealthHint, HealthMonitor
from worldjepa.training.health import Gauges

NAMES = tuple(field.name for field in fields(Gauges))
LOOKS = 3  # before which no alarm is raised, and nothing can be said
WAITING = 0.25  # share of the time spent waiting for data that is worth saying
KINDS = {
    "point": "clips have become alike",
    "scale": "the latents have shrunk",
    "rank": "few directions are left",
}


@dataclass(frozen=True)
class Verdict:
    """``level``: good, watch, bad or unknown; ``title`` says it, ``words`` why, ``remarks`` what else."""

    level: str
    title: str
    words: str
    remarks: list[str] = field(default_factory=list)


def judge_run(record: RunRecord) -> Verdict:
    """Judge the gauges that a run logged."""
    looks = [line for line in record.metrics if line.get("std") is not None]
    remarks = _remarks(record)
    if not looks:
        return Verdict(
            "unknown",
            "Not known",
            "No gauges of the latents were logged: they are taken every train.health_every steps.",
            remarks,
        )
    if len(looks) < LOOKS:
        title = f"Too early to say: the gauges were taken {len(looks)} of {LOOKS} times"
        return Verdict("unknown", title, _sound(record), remarks)
    monitor = _monitor(record)
    said: list[tuple[int, CollapseAlarm | HealthHint]] = []
    for line in looks:
        step = int(line["step"] or 0)
        known = {name: line.get(name) for name in NAMES}
        gauges = Gauges(**{name: math.nan if value is None else value for name, value in known.items()})
        alarm = monitor.look(step, gauges)
        found = alarm or monitor.hint
        if found is not None:
            said.append((step, found))
    lasting = {kind: monitor.state()[kind] > 0 for kind in (*KINDS, "trivial")}
    return _verdict(record, said, lasting, remarks)


def _verdict(
    record: RunRecord,
    said: list[tuple[int, CollapseAlarm | HealthHint]],
    lasting: dict[str, bool],
    remarks: list[str],
) -> Verdict:
    alarms = [(step, found) for step, found in said if isinstance(found, CollapseAlarm)]
    hints = [(step, found) for step, found in said if isinstance(found, HealthHint)]
    present = [(step, found) for step, found in alarms if lasting[found.kind]]
    if present:
        step, found = present[-1]
        title = f"Collapsed: {KINDS[found.kind]}"
        return Verdict("bad", title, f"At step {step}: {found.seen}", [found.advice, *remarks])
    if hints and lasting["trivial"]:
        step, hint = hints[-1]
        title = "Worth a look: the predictor does no better than a trivial one"
        return Verdict("watch", title, f"At step {step}: {hint.seen}", [hint.advice, *remarks])
    if alarms:
        step, found = alarms[-1]
        title = f"Recovered: at step {step} {KINDS[found.kind]}, later not any more"
        return Verdict("watch", title, _sound(record), remarks)
    return Verdict("good", "Healthy: no sign of collapse", _sound(record), remarks)


def _monitor(record: RunRecord) -> HealthMonitor:
    config = record.config
    if config is None:
        return HealthMonitor(record.steps)
    world = config.objective.kind in WORLD_KINDS
    total = config.train.steps or record.steps
    return HealthMonitor(total, frozen=config.model.frozen is not None, world=world)


def _sound(record: RunRecord) -> str:
    """Say what the last gauges show."""
    words = [
        f"Clips differ (spread {record.last('std') or 0:.2f} of the latents' size) in "
        f"{record.last('effective_rank') or 0:.1f} effective directions."
    ]
    predictor = record.last("predictor")
    copied, mean = record.last("copy_nearest"), record.last("mean_latent")
    if predictor is not None and copied and mean:
        words.append(
            f"The predictor's error is {predictor / copied:.0%} of that of copying the nearest latent seen "
            f"and {predictor / mean:.0%} of that of guessing the mean."
        )
    return " ".join(words)


def _remarks(record: RunRecord) -> list[str]:
    """Return what else of the log is worth a line."""
    remarks = []
    config = record.config
    if config is not None and config.train.steps and record.steps < config.train.steps:
        remarks.append(
            f"The run stands at step {record.steps} of {config.train.steps}; the same command goes on."
        )
    lost = [line for line in record.metrics if "loss" in line and line["loss"] is None]
    if lost:
        remarks.append(f"The loss was not finite in {len(lost)} logged steps.")
    waits = [value for _, value in record.series("data_wait")[1:] if value is not None]
    share = sum(waits) / len(waits) if waits else 0.0
    if share > WAITING:
        remarks.append(
            f"{share:.0%} of the time went by waiting for data: more data.num_workers, or python -m "
            "worldjepa.prepare."
        )
    bad = record.folder / "bad_files.jsonl"
    count = len(bad.read_bytes().splitlines()) if bad.is_file() else 0
    if count:
        remarks.append(f"Files that could not be used: {count}; bad_files.jsonl names them and says why.")
    return remarks
