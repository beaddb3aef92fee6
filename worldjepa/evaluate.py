"""``python -m worldjepa.evaluate run.dir=runs/kinetics``: read the settings, then probe the run."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from worldjepa.answering import answer, log_plainly
from worldjepa.config import TrainConfig
from worldjepa.settings.commands import compose_evaluation
from worldjepa.settings.evaluation import EvaluateConfig
from worldjepa.settings.usage import evaluate_usage


def main(argv: Sequence[str] | None = None) -> int:
    """Evaluate as the words of ``argv`` say and return the exit code: 2 for a mistake of the caller's."""
    return answer(
        "evaluate", argv, evaluate_usage, compose_evaluation, _evaluate, shown=lambda asked: asked[0]
    )


def _evaluate(asked: tuple[EvaluateConfig, TrainConfig]) -> int:
    # torch comes in only now: a wrong word was answered at once
    from worldjepa.outcome.evaluation import evaluate_run
    from worldjepa.report.page import write_report

    log_plainly(logging.INFO)
    config, run = asked
    evaluate_run(config, run)
    write_report(Path(str(config.run.dir)), device=config.device)
    return 0


if __name__ == "__main__":
    sys.exit(main())
