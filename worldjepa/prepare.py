"""``python -m worldjepa.prepare data.root=/videos out=/fast/videos``: rewrite a corpus once for training."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from worldjepa.answering import answer, log_plainly
from worldjepa.hardware import usable_cores
from worldjepa.runlock import RunLock
from worldjepa.settings.commands import compose_prepare
from worldjepa.settings.corpus import PrepareConfig
from worldjepa.settings.schema import ConfigError
from worldjepa.settings.usage import prepare_usage

if TYPE_CHECKING:
    from worldjepa.data.video.store_writer import StoreFigures


def main(argv: Sequence[str] | None = None) -> int:
    """Prepare as the words of ``argv`` say and return the exit code: 2 for a mistake of the caller's."""
    goes_on = "interrupted; the same command goes on"
    return answer("prepare", argv, prepare_usage, compose_prepare, _work, interrupted=goes_on)


def _work(config: PrepareConfig) -> int:
    log_plainly(logging.INFO)
    return _verify(config) if config.prepare.verify else _prepare(config)


def _prepare(config: PrepareConfig) -> int:
    # torch comes in only now: a wrong word was answered at once
    from worldjepa.data.clips.corpus import ensure_corpus
    from worldjepa.data.clips.listing import IMAGE_EXTENSIONS, list_entries, relative_to
    from worldjepa.data.progress import FileProgress
    from worldjepa.data.video.store_encoder import Recipe
    from worldjepa.data.video.store_format import is_store
    from worldjepa.data.video.store_writer import SourceVideo, prepare_store

    out, data, settings = Path(config.out or ""), config.data, config.prepare
    root, entries = list_entries(data.root or ensure_corpus(), data.layout)
    if is_store(root):
        raise ConfigError(f"data.root={root} is a prepared store already; name the original videos")
    images = [entry.path for entry in entries if entry.path.lower().endswith(IMAGE_EXTENSIONS)]
    if images:
        raise ConfigError(f"data.root={root} lists images ({images[0]}), which a store does not hold")
    base = str(root if root.is_dir() else root.parent)
    videos = [SourceVideo(e.path, relative_to(base, e.path), e.label, e.part) for e in entries]
    recipe = Recipe(data.size, settings.raw, settings.gop, settings.crf, settings.preset, settings.max_share)
    with RunLock(out, setting="out"), FileProgress(len(videos)) as progress:
        figures = prepare_store(
            videos,
            out,
            recipe,
            shard_bytes=settings.shard_mb * 1_000_000,
            processes=data.num_workers or usable_cores(),
            timeout_s=settings.timeout_s,
            progress=progress.update,
        )
    for line in _told(figures, config):
        progress.console.print(line, markup=False)
    return 0


def _told(figures: StoreFigures, config: PrepareConfig) -> list[str]:
    """Return what the store holds, in words."""
    good = figures.videos - figures.bad
    share = figures.bytes / max(1, figures.source_bytes)
    lines = [
        f"{good:,} of {figures.videos:,} videos, {figures.frames:,} frames: {figures.bytes / 1e6:,.1f} MB, "
        f"{share:.2f} of the originals' {figures.source_bytes / 1e6:,.1f} MB"
    ]
    if figures.lowered:
        worst = max(int(crf) for crf in figures.crf)
        lines.append(
            f"quality lowered for {figures.lowered:,} videos, to stay within prepare.max_share="
            f"{config.prepare.max_share:g} of their bytes (crf up to {worst})"
        )
    if figures.larger:
        lines.append(f"{figures.larger:,} videos are larger nevertheless: their originals are so small")
    if figures.bad:
        lines.append(f"{figures.bad:,} bad files, listed with their reasons in videos.jsonl:")
        most = sorted(figures.reasons.items(), key=lambda pair: -pair[1])[:12]
        lines += [f"  {count:,} x {reason}" for reason, count in most]
    lines.append(f"store: {config.out}; train from it with data.root={config.out}")
    return lines


def _verify(config: PrepareConfig) -> int:
    """Compare a store's files with its manifest."""
    from worldjepa.data.video.store_format import StoreFolder
    from worldjepa.data.video.store_writer import verify_store

    out = Path(config.out or "")
    if not out.is_dir():
        raise FileNotFoundError(f"out={out} does not exist; name the folder of a finished store")
    shards = len(StoreFolder(out).shards)
    wrong = verify_store(out)
    for line in wrong:
        sys.stderr.write(f"worldjepa.prepare: {line}\n")
    if not wrong:
        sys.stdout.write(f"{out}: {shards} shards, all sums right\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
