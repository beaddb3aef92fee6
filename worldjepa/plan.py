"""``python -m worldjepa.plan run.dir=runs/two_rooms``: read the settings, then judge the run's plans."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from worldjepa.config import TrainConfig
from worldjepa.refusals import guarded, refuse
from worldjepa.settings.commands import compose_plan
from worldjepa.settings.overrides import read_flags
from worldjepa.settings.planning import PlanConfig
from worldjepa.settings.schema import ConfigError, to_dict
from worldjepa.settings.usage import plan_usage


def main(argv: Sequence[str] | None = None) -> int:
    """Plan as the words of ``argv`` say and return the exit code: 2 for a mistake of the caller's."""
    argv = list(sys.argv[1:] if argv is None else argv)
    try:
        flags = read_flags(argv)[0]
        if flags.help:
            sys.stdout.write(plan_usage() + "\n")
            return 0
        config, run = compose_plan(argv)
        if flags.show:
            sys.stdout.write(yaml.safe_dump(to_dict(config), sort_keys=False))
            return 0
    except ConfigError as error:
        return refuse("plan", error, 2)
    return guarded("plan", lambda: _plan(config, run))


def _plan(config: PlanConfig, run: TrainConfig) -> int:
    # torch comes in only now: a wrong word was answered at once
    from worldjepa.outcome.planning import judge_run
    from worldjepa.report.page import write_report

    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stdout)
    logging.getLogger("worldjepa").setLevel(logging.INFO)
    judge_run(config, run)
    write_report(Path(str(config.run.dir)), device=config.device)
    return 0


if __name__ == "__main__":
    sys.exit(main())
