"""``python -m worldjepa.plan run.dir=runs/two_rooms``: read the settings, then judge the run's plans."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from worldjepa.answering import answer, log_plainly
from worldjepa.config import TrainConfig
from worldjepa.settings.commands import compose_plan
from worldjepa.settings.planning import PlanConfig
from worldjepa.settings.usage import plan_usage


def main(argv: Sequence[str] | None = None) -> int:
    """Plan as the words of ``argv`` say and return the exit code: 2 for a mistake of the caller's."""
    return answer("plan", argv, plan_usage, compose_plan, _plan, shown=lambda asked: asked[0])


def _plan(asked: tuple[PlanConfig, TrainConfig]) -> int:
    # torch comes in only now: a wrong word was answered at once
    from worldjepa.outcome.planning import judge_run
    from worldjepa.report.page import write_report

    log_plainly(logging.INFO)
    config, run = asked
    judge_run(config, run)
    write_report(Path(str(config.run.dir)), device=config.device)
    return 0


if __name__ == "__main__":
    sys.exit(main())
