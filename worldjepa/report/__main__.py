"""``python -m worldjepa.report run.dir=runs/kinetics``: read the settings, then write the page."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from worldjepa.refusals import guarded, refuse
from worldjepa.settings.commands import compose_report
from worldjepa.settings.overrides import read_flags
from worldjepa.settings.report import ReportConfig
from worldjepa.settings.schema import ConfigError, to_dict
from worldjepa.settings.usage import report_usage


def main(argv: Sequence[str] | None = None) -> int:
    """Report as the words of ``argv`` say and return the exit code: 2 for a mistake of the caller's."""
    argv = list(sys.argv[1:] if argv is None else argv)
    try:
        flags = read_flags(argv)[0]
        if flags.help:
            sys.stdout.write(report_usage() + "\n")
            return 0
        config = compose_report(argv)
        if flags.show:
            sys.stdout.write(yaml.safe_dump(to_dict(config), sort_keys=False))
            return 0
    except ConfigError as error:
        return refuse("report", error, 2)
    return guarded("report", lambda: _report(config))


def _report(config: ReportConfig) -> int:
    # torch comes in only now: a wrong word was answered at once
    from worldjepa.report.page import write_report

    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stdout)
    assert config.run.dir is not None
    path = write_report(Path(config.run.dir), device=config.device, clips=config.clips)
    sys.stdout.write(f"report: {path} ({path.stat().st_size / 2**20:.1f} MB, for any browser)\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
