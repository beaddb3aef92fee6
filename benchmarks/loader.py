"""How many clips a second does the whole loader deliver, from originals, a prepared store and a raw one?

    python -m benchmarks.loader /videos --workers 0 1 2 --out benchmarks/results/loader

Training batches of augmented clips (16 frames, stride 4, 224 pixels) of the sound files of a folder: read,
cropped and flipped, stacked, and pinned where there is a GPU. The loaders of the three kinds run in turn,
round after round, by the wall clock. What a clip costs by stage is measured without workers, in processor
time.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import torch

from benchmarks.machine import describe
from benchmarks.stopwatch import Stopwatch
from benchmarks.table import quartiles, write_results
from benchmarks.videos import FRAMES, SIZE, STRIDE, sound_videos
from worldjepa.data.clips.listing import FileList, list_files
from worldjepa.data.clips.loader import ClipLoader, Source, clip_loader, files_reader, pack
from worldjepa.data.clips.order import SampleOrder
from worldjepa.data.clips.samples import ClipCutter, TrainingClips
from worldjepa.data.clips.sampling import ClipSampling
from worldjepa.data.clips.transforms import TrainTransform
from worldjepa.data.video.store_encoder import Recipe
from worldjepa.data.video.store_writer import SourceVideo, prepare_store
from worldjepa.hardware import usable_cores

SAMPLING, BATCH = ClipSampling(FRAMES, frame_skip=STRIDE), 8
RECIPE = Recipe(size=256, raw=False, gop=4, crf=26, preset="slow", max_share=1.0)
KINDS = {"originals": None, "store": RECIPE, "raw": replace(RECIPE, raw=True)}
STAGES = ("read", "augment", "stack")
QUEUED = 2  # batches that torch's loader holds ready for a worker: taken out before the clock starts


def make_sources(videos: Sequence[SourceVideo], folder: Path) -> dict[str, FileList]:
    """Write the stores; return the files of each kind."""
    originals = FileList(tuple(v.path for v in videos), (-1,) * len(videos), (), str(folder))
    found = {"originals": originals}
    for kind, recipe in KINDS.items():
        if recipe is not None:
            (folder / kind).mkdir()
            processes = max(1, usable_cores() - 1)
            prepare_store(
                videos, folder / kind, recipe, shard_bytes=2**28, processes=processes, timeout_s=3600
            )
            found[kind] = list_files(folder / kind)
    return found


def start(files: FileList, workers: int) -> ClipLoader:
    """Return an endless loader."""
    return clip_loader(
        [Source(files)],
        sampling=SAMPLING,
        transform=TrainTransform(SIZE),
        batch_size=BATCH,
        seed=0,
        last_step=10**9,
        num_workers=workers,
        pin_memory=torch.cuda.is_available(),
    )


def throughput(
    sources: dict[str, FileList], workers: int, *, rounds: int, batches: int
) -> dict[str, list[float]]:
    """Return the clips a second of every round, by kind; the first round warms up.

    A loader with workers runs on while another is measured, until its queue is full; that queue is emptied
    before the clock starts.
    """
    speeds: dict[str, list[float]] = {kind: [] for kind in sources}
    loaders = {kind: start(files, workers) for kind, files in sources.items()}
    try:
        for number in range(rounds + 1):
            for kind, loader in sorted(loaders.items(), reverse=bool(number % 2)):
                for _ in range(QUEUED * workers):
                    next(loader)
                watch = Stopwatch("wall")
                with watch.part("batches"):
                    for _ in range(batches):
                        next(loader)
                if number:
                    speeds[kind].append(BATCH * batches / watch.seconds["batches"])
    finally:
        for loader in loaders.values():
            loader.close()
    return speeds


class _Timed:
    """A reader or a transform whose work is added to a stage."""

    def __init__(self, inner: Any, watch: Stopwatch, stage: str):
        self.inner, self.decode_size = inner, getattr(inner, "decode_size", None)
        self.probe = watch.timing(stage, inner.probe) if hasattr(inner, "probe") else None
        self.read = watch.timing(stage, inner.read) if hasattr(inner, "read") else None
        self.call = watch.timing(stage, inner) if callable(inner) else None

    def __call__(self, *args: Any) -> Any:
        assert self.call is not None
        return self.call(*args)


def stages(files: FileList, clips: int) -> dict[str, float]:
    """Return the milliseconds of processor time that a clip takes in each stage."""
    watch = Stopwatch("cpu")
    reader: Any = _Timed(files_reader(files, "pyav", "off"), watch, "read")
    transform: Any = _Timed(TrainTransform(SIZE), watch, "augment")
    cutter = ClipCutter(SAMPLING, transform, reader)
    order = SampleOrder([len(files)], [1.0], 0)
    dataset = TrainingClips([files], order, [cutter], 1, 0)
    stack = watch.timing("stack", pack)
    for number in range(len(files)):  # every file is known then, as it is after the first epoch
        dataset[number]
    watch.seconds.clear()
    for first in range(0, clips, BATCH):
        stack([dataset[len(files) + first + i] for i in range(BATCH)])
    return {stage: 1e3 * watch.seconds[stage] / clips for stage in STAGES}


def markdown(speeds: dict[str, Any], costs: dict[str, Any], circumstances: dict[str, str]) -> str:
    """Return the report."""
    lines = [
        "# Clips a second of the whole loader",
        "",
        f"Batches of {BATCH} clips of {SAMPLING.num_frames} frames, stride {SAMPLING.frame_skip}: read, a",
        f"random resized crop of {SIZE} px, flipped, stacked, pinned where there is a GPU. Store and raw are",
        f"what `python -m worldjepa.prepare data.size={RECIPE.size}` writes. Medians (quartiles) by the wall",
        "clock: more workers than cores, and other work on them, make these figures say how a machine is",
        "shared.",
        "",
        *(f"- {key}: {value}" for key, value in circumstances.items()),
        "",
        "| workers | " + " | ".join(f"{kind}, clips/s" for kind in KINDS) + " |",
        "|---" * (len(KINDS) + 1) + "|",
    ]
    for workers, found in speeds.items():
        cells = [
            f"{m:.1f} ({low:.1f}-{high:.1f})" for low, m, high in (quartiles(found[kind]) for kind in KINDS)
        ]
        lines.append(f"| {workers} | {' | '.join(cells)} |")
    lines += [
        "",
        "What a clip costs by stage, ms of processor time on one thread:",
        "",
        "| | " + " | ".join(STAGES) + " | together |",
        "|---" * (len(STAGES) + 2) + "|",
    ]
    for kind, cost in costs.items():
        cells = " | ".join(f"{cost[stage]:.1f}" for stage in STAGES)
        lines.append(f"| {kind} | {cells} | {sum(cost.values()):.1f} |")
    return "\n".join(lines) + "\n"


def main(argv: list[str] | None = None) -> int:
    """Measure every number of workers; write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("videos", type=Path)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", type=int, default=6, help="in a round")
    parser.add_argument("--out", help="write <out>.md and <out>.json")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    videos = sound_videos(options.videos)
    if not videos:
        print(f"{options.videos}: no sound video", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as name:
        sources = make_sources(videos, Path(name))
        costs = {kind: stages(files, 6 * BATCH) for kind, files in sources.items()}
        speeds = {
            str(workers): throughput(sources, workers, rounds=options.rounds, batches=options.batches)
            for workers in options.workers
        }
    words = sys.argv[1:] if argv is None else argv
    command = " ".join(["python -m benchmarks.loader", "/videos", *words[1:]])
    circumstances = describe(command, 1, "wall") | {"cores": str(usable_cores())}
    circumstances["files"] = (
        f"{len(videos)}, {statistics.mean(Path(v.path).stat().st_size for v in videos):,.0f} "
    )
    circumstances["files"] += "bytes on average"
    circumstances["GPU"] = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "none: not pinned"
    circumstances["versions"] = f"torch {torch.__version__}, av {av.__version__}"
    text = markdown(speeds, costs, circumstances)
    print(text)
    if options.out:
        write_results(circumstances, {"speeds": speeds, "stages": costs}, text, options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
