"""``python -m worldjepa.evaluate run.dir=runs/kinetics``: read the settings, then probe the run."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from worldjepa.config import TrainConfig
from worldjepa.refusals import guarded, refuse
from worldjepa.settings.commands import compose_evaluation
from worldjepa.settings.evaluation import EvaluateConfig
from worldjepa.settings.overrides import read_flags
from worldjepa.settings.schema import ConfigError, to_dict
from worldjepa.settings.usage import evaluate_usage


def main(argv: Sequence[str] | None = None) -> int:
    """Evaluate as the words of ``argv`` say and return the exit code: 2 for a mistake of the caller's."""
    argv = list(sys.argv[1:] if argv is None else argv)
    try:
        flags = read_flags(argv)[0]
        if flags.help:
            sys.stdout.write(evaluate_usage() + "\n")
            return 0
        config, run = compose_evaluation(argv)
        if flags.show:
            sys.stdout.write(yaml.safe_dump(to_dict(config), sort_keys=False))
            return 0
    except ConfigError as error:
        return refuse("evaluate", error, 2)
    return guarded("evaluate", lambda: _evaluate(config, run))


def _evaluate(config: EvaluateConfig, run: TrainConfig) -> int:
    # torch comes in only now: a wrong word was answered at once
    from worldjepa.outcome.evaluation import evaluate_run
    from worldjepa.report.page import write_report

    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stdout)
    logging.getLogger("worldjepa").setLevel(logging.INFO)
    evaluate_run(config, run)
    write_report(Path(str(config.run.dir)), device=config.device)
    return 0


if __name__ == "__main__":
    sys.exit(main())
