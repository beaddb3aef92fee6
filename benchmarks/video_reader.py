"""How fast, how exact and how careful are the readers of video files?

    WORLDJEPA_TEST_CLIPS=FOLDER python -m benchmarks.video_reader --out benchmarks/results/video_reader

Three questions, each a table. Speed: 16 frames, stride 4, random start, short side 224, one thread, the file
opened for every clip; all readers in turn on the same frames, in processor time. Exactness: frames of sound
files against a full decode in order (``benchmarks/readings.py``). Care: what becomes of bad files, and of a
few hundred seeded mutations of good ones (``tests/data/mutations.py``).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import av
import numpy as np
import torch

from benchmarks.machine import describe
from benchmarks.readings import bad_files, judge, odd_files, public_readers, reference, sound_clips
from benchmarks.stopwatch import Stopwatch
from benchmarks.table import divide, quartiles
from benchmarks.videos import CLIP_FRAMES, FRAMES, SIZE, STRIDE, draw_clip
from tests.data.mutations import read_mutants
from worldjepa.data import BadVideoError, UnsupportedVideoError, open_reader
from worldjepa.data.video.reader_pyav import PyavReader

BASELINE = "decord, float32"
MUTATED = {"part_0.mp4": "H.264", "test.avi": "MPEG-4", "h265_video.mp4": "HEVC", "av1_video.mkv": "AV1"}

Read = Callable[[Path, list[int]], torch.Tensor]


# --- speed -------------------------------------------------------------------------------------------


def measure_speed(path: Path, readers: dict[str, Read], rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each reader in every round; none for one that refuses the file."""
    rng, count = np.random.default_rng(0), len(reference(path))
    seconds: dict[str, list[float]] = {}
    able = dict(readers)
    for turn in range(rounds + 1):  # the first warms up, and shows who refuses
        indices = draw_clip(count, rng)
        names = list(able)[turn % len(able) :] + list(able)[: turn % len(able)]
        for name in names:
            watch = Stopwatch("cpu")
            try:
                with watch.part("clip"):
                    able[name](path, indices)
            except (ValueError, RuntimeError):  # decord's and torchcodec's errors are RuntimeErrors
                able.pop(name)
                continue
            if turn:
                seconds.setdefault(name, []).append(watch.seconds["clip"])
    return seconds


def speed_table(
    measured: dict[str, dict[str, list[float]]], names: Sequence[str], groups: dict[str, list[str]]
) -> tuple[str, dict[str, dict[str, float]]]:
    """Return clips a second by file, and how many times faster each reader is over each group of files."""
    lines = [f"| clips/s | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for file, seconds in measured.items():
        cells = [
            f"{1 / statistics.median(seconds[name]):.1f}" if name in seconds else "refuses" for name in names
        ]
        lines.append(f"| {file} | {' | '.join(cells)} |")
    means = {}
    for group, files in groups.items():
        means[group] = {name: mean_speedup([measured[file] for file in files], name) for name in names}
        cells = [f"**{means[group][name]:.2f}**" for name in names]
        lines.append(f"| times {BASELINE}, geometric mean of {group} | {' | '.join(cells)} |")
    return "\n".join(lines), means


def mean_speedup(measured: Sequence[dict[str, list[float]]], name: str) -> float:
    """Return how many times faster than the baseline a reader is: the geometric mean over files."""
    return statistics.geometric_mean(quartiles(divide(m[BASELINE], m[name]))[1] for m in measured)


def h264_groups(paths: Sequence[Path]) -> dict[str, list[str]]:
    """Return the names of the H.264 clips, and of those that hold a whole clip."""
    timelines = {path.name: PyavReader().timeline(path) for path in paths}
    found = {name: len(timeline.pts) for name, timeline in timelines.items() if timeline.codec == "h264"}
    long = [name for name, frames in found.items() if frames >= CLIP_FRAMES]
    return {"the H.264 clips": list(found), f"those of at least {CLIP_FRAMES} frames": long}


# --- exactness and care --------------------------------------------------------------------------------


def outcome(read: Read, path: Path, indices: list[int], truth: Sequence[np.ndarray]) -> str:
    """Say what a reader makes of frames at native size: how many are wrong, or that it refuses."""
    try:
        frames = read(path, indices)
    except UnsupportedVideoError:
        return "refuses"
    except BadVideoError:
        return "bad"
    except (RuntimeError, IndexError, ValueError, OSError) as error:
        return f"error ({type(error).__name__})"
    wrong = judge(frames, indices, truth)
    return f"{wrong} of {len(indices)} wrong" if wrong else "right"


def exactness_table(files: Sequence[Path], readers: dict[str, Read]) -> str:
    """Return a row a file: what each reader makes of twelve of its frames, drawn at random."""
    lines = [f"| | {' | '.join(readers)} |", "|---" * (len(readers) + 1) + "|"]
    for path in files:
        truth = reference(path)
        indices = np.random.default_rng(1).integers(0, len(truth), 12).tolist()
        cells = [outcome(read, path, indices, truth) for read in readers.values()]
        lines.append(f"| {path.name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def care_table(files: dict[str, tuple[Path, Path]], readers: dict[str, Read]) -> str:
    """Return a row a bad file: what each reader makes of it, beside the good one that it was made of."""
    lines = [f"| | {' | '.join(readers)} |", "|---" * (len(readers) + 1) + "|"]
    for kind, (path, sound) in files.items():
        truth = reference(sound)
        indices = np.linspace(0, len(truth) - 1, FRAMES).astype(int).tolist()
        cells = [outcome(read, path, indices, truth) for read in readers.values()]
        lines.append(f"| {kind} | {' | '.join(cells)} |")
    return "\n".join(lines)


def mutation_table(clips: Path, count: int) -> str:
    """Return a row a codec: of the mutations of a clip, how many were refused, harmless, or not noticed."""
    kinds = ("refused", "frames right", "a frame differs, unnoticed")
    lines = [f"| {count} mutations each | {' | '.join(kinds)} |", "|---|---|---|---|"]
    with tempfile.TemporaryDirectory() as folder:
        for name, codec in MUTATED.items():
            found = read_mutants(clips / name, range(count), Path(folder))
            unnoticed = sum(n for kind, n in found.items() if kind.startswith("wrong"))
            lines.append(f"| {codec} ({name}) | {found['refused']} | {found['right']} | {unnoticed} |")
    return "\n".join(lines)


def our_readers(size: int | None) -> dict[str, Read]:
    """Return the readers of ``worldjepa.data`` that load here."""
    readers: dict[str, Read] = {}
    for name in ("pyav", "decord", "torchcodec"):
        try:
            reader = open_reader(name)
        except ImportError as error:
            print(f"left out: {error}", file=sys.stderr)
            continue
        readers[f"data.reader={name}"] = lambda path, indices, reader=reader: reader.read(path, indices, size)
    return readers


# --- all of it -------------------------------------------------------------------------------------------

HEADING = """# Readers of video files

`data.reader=...` are ours; the others are the packages as they are: decord as the public V-JEPA 2 loader uses
it (native decode; then float32 and `interpolate`), the same with torchvision's uint8 resize, which is faster,
and torchcodec in its two seek modes. {versions}

## Speed

{frames} frames, stride {stride}, random start, short side {size}, one thread, the file opened for every clip;
{rounds} rounds, all readers in turn on the same frames; medians, ratios taken within a round. What a reader
keeps of a file between visits is kept (ours: its timeline).
"""
EXACT = """## Frames of sound files

Twelve frames drawn at random, at native size. A frame is right if it differs from that of a full decode in
order (which equals ffmpeg's own bit by bit, see `tests/data/video`) by 3 of 255 on average at most, and from
its neighbours by more. `refuses`: `UnsupportedVideoError`, which names the reader that can.
"""
CARE = """## Bad files

{frames} frames asked for, spread over the video. `bad`: `BadVideoError`, which a run lists and replaces;
`wrong`: frames returned, though they are damaged or others.
"""
MUTATIONS = """## Damage at random

Seeded mutations (a bit, eight bytes, three hundred bytes, a hole of zeros, a cut, swapped, inserted and
deleted bytes, a byte of the tables at the ends), read with `data.reader=pyav` in a process of its own: none
crashed or hung. What is not noticed is damage that says something else, and as valid. HEVC and AV1 carry no
checks beside the pictures, and their decoders make pictures of nearly anything; where an encoder wrote hashes
of the pictures (x265's `hash`), they are compared, and every damage shows. FFmpeg says no more of what is not
noticed here, neither in its log down to the finest level nor with further `err_detect` flags; `aggressive`,
the last of them, refuses sound files.
"""


def main(argv: list[str] | None = None) -> int:
    """Measure, print and write the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--mutations", type=int, default=270)
    parser.add_argument("--out", help="write <out>.md and <out>.json")
    options = parser.parse_args(argv)
    folder = os.environ.get("WORLDJEPA_TEST_CLIPS")
    if not folder:
        print("set WORLDJEPA_TEST_CLIPS to the folder of the clips", file=sys.stderr)
        return 2
    clips = Path(folder)
    torch.set_num_threads(1)
    timed = public_readers(SIZE) | our_readers(SIZE)
    measured = {path.name: measure_speed(path, timed, options.rounds) for path in sound_clips(clips)}
    speed, means = speed_table(measured, list(timed), h264_groups(sound_clips(clips)))
    exact = public_readers(None) | our_readers(None)
    exact.pop("decord, uint8")  # at native size the same as the other
    with tempfile.TemporaryDirectory() as made:
        files = [*sound_clips(clips), *odd_files(Path(made))]
        frames = exactness_table(files, exact)
        care = care_table(bad_files(clips, Path(made)), exact)
    mutations = mutation_table(clips, options.mutations)
    command = "python -m benchmarks.video_reader " + " ".join(sys.argv[1:] if argv is None else argv)
    facts = describe(command, 1, "cpu") | {"rounds": str(options.rounds)}
    text = "\n".join(
        [
            HEADING.format(
                frames=FRAMES, stride=STRIDE, size=SIZE, rounds=options.rounds, versions=_versions()
            ),
            *[f"- {name}: {value}" for name, value in facts.items()],
            "",
            speed,
            "",
            *[EXACT, frames, "", CARE.format(frames=FRAMES), care, "", MUTATIONS, mutations, ""],
        ]
    )
    print(text)
    if options.out:
        out = Path(options.out)
        out.parent.mkdir(parents=True, exist_ok=True)
        out.with_suffix(".md").write_text(text)
        result = facts | {"times_faster": means, "seconds": measured}
        out.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n")
    return 0


def _versions() -> str:
    from importlib.metadata import PackageNotFoundError, version

    found = []
    for name in ("av", "decord", "torchcodec", "torchvision"):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    libraries = ".".join(map(str, av.library_versions["libavcodec"]))
    return f"Versions: {', '.join(found)}; PyAV's libavcodec {libraries}."


if __name__ == "__main__":
    sys.exit(main())
