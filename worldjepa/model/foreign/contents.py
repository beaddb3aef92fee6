"""What is found in published weights: settings and tensors of ours, and a report that leaves nothing out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor


class ForeignError(ValueError):
    """Published weights cannot be taken over as they are; the message says what stands in the way."""


@dataclass(frozen=True)
class Report:
    """What became of every tensor.

    Args:
        format: what was read, in words.
        loaded: names, in our model, of all that was taken over.
        reshaped: which of these changed their shape or order on the way, and how.
        missing: tensors or whole parts of ours that the files lack.
        left_over: their tensors (or whole entries) that were not taken, and why.
        notes: what was decided rather than read.
    """

    format: str
    loaded: tuple[str, ...] = ()
    reshaped: Mapping[str, str] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    left_over: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """Return the report as lines of text; blocks of a transformer that went alike share a line."""
        lines = [f"format: {self.format}", f"loaded: {len(self.loaded)} tensors"]
        lines += _grouped("reshaped", self.reshaped)
        lines += _grouped("missing", dict.fromkeys(self.missing, "")) or ["missing: nothing"]
        lines += _grouped("left over", self.left_over) or ["left over: nothing"]
        return lines + [f"note: {note}" for note in self.notes]


@dataclass(frozen=True)
class Foreign:
    """Published weights in our terms.

    Args:
        settings: nested, as ``schema.from_dict`` reads them: plain data. They build the whole model.
        tensors: its tensors by our names, contiguous float32 on the CPU.
        report: what became of what was found.
    """

    settings: dict[str, Any]
    tensors: dict[str, Tensor]
    report: Report


def _grouped(kind: str, entries: Mapping[str, str]) -> list[str]:
    """Return a line for entries that differ in the number of their block alone."""
    groups: dict[tuple[str, str], int] = {}
    for name, what in entries.items():
        key = (re.sub(r"\.\d+\.", ".*.", name), what)
        groups[key] = groups.get(key, 0) + 1
    return [
        f"{kind}: {name}{f' (x{count})' if count > 1 else ''}{f': {what}' if what else ''}"
        for (name, what), count in groups.items()
    ]
