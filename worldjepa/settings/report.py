"""What ``python -m worldjepa.report`` may be told."""

from __future__ import annotations

from dataclasses import dataclass, field

from worldjepa.settings.run import RunConfig


@dataclass
class ReportConfig:
    """Everything that the report understands. ``clips``: how many held-out ones, at most, its pictures use,
    and how many training ones the probe is fitted to whose attention is shown.
    """

    run: RunConfig = field(default_factory=RunConfig)
    device: str = "auto"
    clips: int = 256
