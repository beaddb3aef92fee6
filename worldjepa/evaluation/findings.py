"""What an evaluation found: figures with their intervals, as data for JSON and as a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rich import box
from rich.table import Table

from worldjepa.evaluation.intervals import wilson


@dataclass(frozen=True)
class Figure:
    """A number and the bounds of its 95 % interval, where it has one."""

    value: float
    low: float | None = None
    high: float | None = None

    @classmethod
    def share(cls, successes: int, trials: int) -> Figure:
        """Return a share with its Wilson interval."""
        return cls(successes / trials if trials else 0.0, *wilson(successes, trials))

    def text(self) -> str:
        """Return it for a table, to three digits; the bounds to two places."""
        if self.low is None or self.high is None:
            return f"{self.value:.3g}"
        return f"{self.value:.3f} [{self.low:.2f}, {self.high:.2f}]"

    def to_dict(self) -> dict[str, float | None]:
        """Return plain data."""
        return {"value": self.value, "low": self.low, "high": self.high}


@dataclass(frozen=True)
class Finding:
    """One probe's result: for each row (what was probed) its figures by name of the measure.

    ``note`` says in words how it was measured, ``details`` holds what else goes into the JSON.
    """

    title: str
    rows: Mapping[str, Mapping[str, Figure]]
    note: str
    details: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        rows = {
            name: {measure: figure.to_dict() for measure, figure in figures.items()}
            for name, figures in self.rows.items()
        }
        return {"title": self.title, "note": self.note, "rows": rows, **self.details}

    def table(self) -> Table:
        """Return the rows for the terminal; title and note are too long for what is as narrow."""
        table = Table(box=box.SIMPLE_HEAD)  # where it is too narrow, intervals go below: no figure is cut off
        measures = list(dict.fromkeys(name for figures in self.rows.values() for name in figures))
        for heading in ("", *measures):
            table.add_column(heading, justify="right" if heading else "left", overflow="fold")
        for name, figures in self.rows.items():
            table.add_row(name, *(figures[m].text() if m in figures else "" for m in measures))
        return table
