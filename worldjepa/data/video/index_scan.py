"""Look at every file of a corpus once and keep in its index what was found; what is known is not asked."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from worldjepa.data.job_pool import Lost, run_jobs
from worldjepa.data.video.index import Found, Key, VideoIndex
from worldjepa.data.video.reader import BadVideoError, file_key
from worldjepa.data.video.reader_pyav import examine

_BATCH, _AGE_S = 64, 1.0  # rows, and seconds, that may be lost when the scan is killed


def scan_files(
    paths: Sequence[str],
    index: VideoIndex,
    *,
    processes: int,
    timeout_s: float,
    progress: Callable[[int], None] = lambda done: None,
) -> dict[str, BadVideoError]:
    """Bring ``index`` up to date with ``paths``; return what could not even be asked (missing, empty, ...).

    ``progress`` is told how many files are done. A file at which a process dies, or stays for ``timeout_s``,
    is bad. Raises ``IndexFileError``.
    """
    unreadable: dict[str, BadVideoError] = {}
    known, unknown = index.known(), list[Key]()
    for path in paths:
        try:
            key = file_key(path)
        except BadVideoError as error:
            unreadable[path] = error
            continue
        if known.get(index.name(path)) != key[1:]:
            unknown.append(key)
    done = len(paths) - len(unknown)
    progress(done)
    learnt: list[tuple[Key, Found]] = []
    written = time.monotonic()
    answers = run_jobs(
        f"{examine.__module__}:{examine.__name__}",
        [key[0] for key in unknown],
        processes=processes,
        timeout_s=timeout_s,
        ahead=16 * processes,
    )
    for key, answer in zip(unknown, answers, strict=True):
        found, lasting = (BadVideoError(answer.reason), True) if isinstance(answer, Lost) else answer
        if lasting:
            learnt.append((key, found))
        else:
            unreadable[key[0]] = found
        if len(learnt) >= _BATCH or time.monotonic() > written + _AGE_S:
            index.put(learnt)
            learnt, written = [], time.monotonic()
        done += 1
        progress(done)
    index.put(learnt)
    return unreadable
