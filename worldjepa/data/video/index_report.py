"""What an index says of a corpus: counts, hours, codecs, sizes, rates, and what is wrong with bad files."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from worldjepa.data.video.index import Row, VideoIndex
from worldjepa.data.video.reader import BadVideoError

_SHOWN = 12  # lines of one kind in the table
_SOUND = "without damage that shows before decoding"


@dataclass
class CorpusReport:
    """Figures of the files of a corpus.

    ``good``: without damage that shows before decoding; damage within pictures is met by clips that need it.
    ``seconds``: how long it took to look at those that were new.
    """

    files: int = 0
    good: int = 0
    bytes: int = 0
    hours: float = 0.0
    frames: int = 0
    codecs: Counter[str] = field(default_factory=Counter)
    containers: Counter[str] = field(default_factory=Counter)
    sizes: Counter[str] = field(default_factory=Counter)
    rates: Counter[str] = field(default_factory=Counter)
    frames_a_keyframe: float = 0.0
    reasons: Counter[str] = field(default_factory=Counter)
    bad: dict[str, str] = field(default_factory=dict)
    new: int = 0
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """Return the figures, fit for JSON."""
        return {name: _plain(value) for name, value in vars(self).items()}

    def lines(self) -> list[tuple[str, str]]:
        """Return (what, how much) as shown in a terminal."""
        found = [
            ("videos", f"{self.good:,} of {self.files:,} {_SOUND} ({self.bytes / 1e6:,.1f} MB)"),
            ("length", f"{self.hours:,.2f} h, {self.frames:,} frames"),
            ("keyframes", f"one in {self.frames_a_keyframe:.0f} frames"),
        ]
        for name in ("codecs", "containers", "sizes", "rates"):
            found.append((name, _most(getattr(self, name))))
        found.append(("bad files", f"{len(self.bad):,}"))
        found += [("", f"{count:,} x {reason}") for reason, count in self.reasons.most_common(_SHOWN)]
        return found


def report_on(
    paths: Sequence[str], index: VideoIndex, unreadable: Mapping[str, BadVideoError]
) -> CorpusReport:
    """Return the figures of the files at ``paths``, whatever else is in the index."""
    names = {index.name(path): path for path in paths if path not in unreadable}
    report = CorpusReport(files=len(paths))
    keyframes = 0
    for name, row in index.rows():
        if name not in names:
            continue
        report.bytes += row.bytes
        if row.verdict:
            _add_bad(report, names[name], row.reason)
        else:
            _add_good(report, row)
            keyframes += row.keyframes
    for path, error in unreadable.items():
        _add_bad(report, path, str(error).removeprefix(f"{path}: "))
    report.frames_a_keyframe = report.frames / max(1, keyframes)
    return report


def _add_good(report: CorpusReport, row: Row) -> None:
    report.good += 1
    report.hours += row.seconds / 3600
    report.frames += row.frames
    report.codecs[row.codec] += 1
    report.containers[row.container] += 1
    report.sizes[f"{row.width}x{row.height}"] += 1
    report.rates[f"{row.rate:.4g}"] += 1


def _add_bad(report: CorpusReport, path: str, reason: str) -> None:
    report.bad[path] = reason
    report.reasons[_kind(reason)] += 1


def _kind(reason: str) -> str:
    """Return the reason with its numbers left out, so that files with the same fault count together."""
    return re.sub(r"\d[\d.,]*", "N", reason)


def _most(counts: Counter[str]) -> str:
    shown = [f"{count:,} x {name}" for name, count in counts.most_common(_SHOWN)]
    more = len(counts) - len(shown)
    return ", ".join(shown) + (f", {more} more kinds" if more else "")


def _plain(value: Any) -> Any:
    if isinstance(value, Counter):
        return dict(value.most_common())
    return dict(value) if isinstance(value, Mapping) else value
