"""``python -m worldjepa.index data.root=/videos``: read the settings, then look at every file once."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from worldjepa.answering import answer, log_plainly
from worldjepa.hardware import usable_cores
from worldjepa.settings.commands import compose_index
from worldjepa.settings.corpus import IndexConfig
from worldjepa.settings.schema import ConfigError
from worldjepa.settings.usage import index_usage


def main(argv: Sequence[str] | None = None) -> int:
    """Index as the words of ``argv`` say and return the exit code: 2 for a mistake of the caller's."""
    goes_on = "interrupted; the same command goes on"
    return answer("index", argv, index_usage, compose_index, _index, interrupted=goes_on)


def _index(config: IndexConfig) -> int:
    log_plainly(logging.INFO)
    # torch comes in only now: a wrong word was answered at once
    from worldjepa.data.clips.corpus import ensure_corpus
    from worldjepa.data.clips.listing import IMAGE_EXTENSIONS, list_files
    from worldjepa.data.progress import FileProgress
    from worldjepa.data.video.index import VideoIndex, index_lock, index_path
    from worldjepa.data.video.index_report import report_on
    from worldjepa.data.video.index_scan import scan_files

    data = config.data
    files = list_files(data.root or ensure_corpus(), data.layout)
    if files.prepared:
        raise ConfigError(f"data.root={files.root} is a prepared store, which has an index of its own")
    videos = [path for path in files.paths if not path.lower().endswith(IMAGE_EXTENSIONS)]
    if not videos:
        raise ConfigError(f"data.root={files.root} lists images only, of which there is nothing to be known")
    path = index_path(files.root, data.index)
    with index_lock(path), VideoIndex(path, files.base) as index, FileProgress(len(videos)) as progress:
        began, before = time.monotonic(), len(index.known())
        unreadable = scan_files(
            videos,
            index,
            processes=data.num_workers or usable_cores(),
            timeout_s=data.timeout_s,
            progress=progress.update,
        )
        report = report_on(videos, index, unreadable)
        report.seconds, report.new = time.monotonic() - began, len(index.known()) - before
    for name, text in report.lines():
        progress.console.print(f"{name:<12}{text}", markup=False)
    if config.report is not None:
        Path(config.report).write_text(json.dumps(report.as_dict(), indent=1) + "\n", encoding="utf-8")
    progress.console.print(f"index: {path} ({report.new:,} new, {report.seconds:.1f} s)", markup=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
