"""What an online run writes down round by round: ``online.json``, ``metrics.jsonl`` and a picture."""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from worldjepa.artifact import write_file
from worldjepa.learning_curve import curve_picture
from worldjepa.pictures import save_png

RESULT, PICTURE, METRICS = "online.json", "online.png", "metrics.jsonl"


@dataclass(frozen=True)
class Round:
    """What stood after a round (the first is 0).

    ``env_steps`` and ``episodes``: all that were collected so far. ``model_steps`` and ``agent_steps``:
    updates so far. ``returns``: of each episode that the agent was judged by, played without noise;
    ``collected``: the mean return of this round's new episodes. ``figures``: of the agent's last updates.
    ``seconds`` by phase, and ``cpu_seconds`` (processor time), in the process that did it last.
    """

    round: int
    env_steps: int
    episodes: int
    model_steps: int
    agent_steps: int
    returns: list[float]
    collected: float
    figures: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    cpu_seconds: float = 0.0

    @property
    def mean(self) -> float:
        """Mean return."""
        return statistics.fmean(self.returns)

    def line(self, rounds: int) -> str:
        """Return it in words."""
        spread = statistics.stdev(self.returns) if len(self.returns) > 1 else 0.0
        spent = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in self.seconds.items())
        return (
            f"round {self.round + 1}/{rounds}  {self.env_steps} environment steps  return {self.mean:.1f} "
            f"(+-{spread:.1f} over {len(self.returns)} episodes)  {spent}"
        )


class OnlineRecord:
    """The finished rounds of a run folder; a round is finished once ``online.json`` says so."""

    def __init__(self, run_dir: Path, about: dict[str, Any]):
        self.run_dir, self.about = run_dir, about
        path = run_dir / RESULT
        stored = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"rounds": []}
        self.rounds = [Round(**{k: v for k, v in one.items() if k != "return"}) for one in stored["rounds"]]

    def add(self, found: Round) -> None:
        """Write a round down: its line of ``metrics.jsonl`` first, which replaces one that a kill left."""
        self._log(found)
        self.rounds.append(found)
        rounds = [asdict(one) | {"return": one.mean} for one in self.rounds]
        first = self.rounds[0].collected
        result = self.about | {"first_policy_return": first, "rounds": rounds}
        write_file(self.run_dir / RESULT, json.dumps(result, indent=2) + "\n")
        curves = {
            "agent": [(one.env_steps, one.mean) for one in self.rounds],
            f"{self.about['first_policy']} policy": [(0.0, first)],
        }
        save_png(curve_picture(curves, title=f"return on {self.about['env']}"), str(self.run_dir / PICTURE))

    def _log(self, found: Round) -> None:
        path = self.run_dir / METRICS
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        kept = [line for line in lines if json.loads(line).get("round") != found.round]
        record = {
            "step": found.model_steps,
            "round": found.round,
            "env_steps": found.env_steps,
            "return": found.mean,
        }
        kept.append(json.dumps(record | found.figures))
        write_file(path, "".join(line + "\n" for line in kept))


class Watch:
    """Seconds by phase, and the processor time of them all (on a busy machine, the figure that stays)."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._before = sum(os.times()[:4])

    @property
    def cpu_seconds(self) -> float:
        """Processor time so far, with that of processes that have ended."""
        return round(sum(os.times()[:4]) - self._before, 2)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Time what happens inside."""
        began = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - began, 2)
