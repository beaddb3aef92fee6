"""``python -m worldjepa.report run.dir=runs/kinetics``: read the settings, then write the page."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from worldjepa.answering import answer, log_plainly
from worldjepa.settings.commands import compose_report
from worldjepa.settings.report import ReportConfig
from worldjepa.settings.usage import report_usage


def main(argv: Sequence[str] | None = None) -> int:
    """Report as the words of ``argv`` say and return the exit code: 2 for a mistake of the caller's."""
    return answer("report", argv, report_usage, compose_report, _report)


def _report(config: ReportConfig) -> int:
    # torch comes in only now: a wrong word was answered at once
    from worldjepa.report.page import write_report

    log_plainly()
    assert config.run.dir is not None
    path = write_report(Path(config.run.dir), device=config.device, clips=config.clips)
    sys.stdout.write(f"report: {path} ({path.stat().st_size / 2**20:.1f} MB, for any browser)\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
