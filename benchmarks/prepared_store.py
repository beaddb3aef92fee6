"""How much faster is a clip from a prepared store than from the original, and at what size and quality?

    python -m benchmarks.prepared_store /videos --out benchmarks/results/prepared_store

For every sound H.264 file of the folder: clips of 16 frames, stride 4, from a random start, to a short side
of 224 pixels, on one thread, as (1) decord reads the original the way the public V-JEPA 2 code does, and
with a quicker resize (``benchmarks/readings.py``), (2) PyAV, our reader, (3) the prepared store, (4) the raw
store. All in one run, in turn for each clip, in processor time; ratios are taken clip by clip.
``--sweep`` tries other ways to encode.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import decord
import numpy as np
import torch

from benchmarks.machine import describe
from benchmarks.readings import public_readers
from benchmarks.stopwatch import CLOCKS
from benchmarks.table import quartiles, write_results
from benchmarks.videos import CLIP_FRAMES, FRAMES, SIZE, STRIDE, draw_clip, sound_videos
from worldjepa.data.video.reader_pyav import PyavReader
from worldjepa.data.video.store_encoder import QUICK, Recipe
from worldjepa.data.video.store_format import HEAD
from worldjepa.data.video.store_reader import StoreReader
from worldjepa.data.video.store_writer import SourceVideo, prepare_store

PUBLIC, QUICKER, PLAIN = "decord, float32", "decord, uint8", "data.reader=pyav"
STORE, VIEW, COPY = "store", "raw, mapped", "raw, copied"
READERS = (PUBLIC, QUICKER, PLAIN, STORE, VIEW, COPY)
RECIPE = Recipe(size=SIZE, raw=False, gop=4, crf=26, preset="slow", max_share=1.0)
SWEEP = {
    "as it is": RECIPE,
    **{f"gop={gop}": replace(RECIPE, gop=gop) for gop in (1, 2, 3, 6, 8, 16)},
    **{f"preset={name}": replace(RECIPE, preset=name) for name in ("medium", "veryslow")},
    "with loop filter": replace(RECIPE, x264=QUICK.replace("no-deblock=1", "no-deblock=0")),
    "with arithmetic coding": replace(RECIPE, x264=QUICK.replace("cabac=0", "cabac=1")),
    "with psychovisual tuning": replace(RECIPE, x264=QUICK.replace(":psy=0", "")),
    "with adaptive quantisation": replace(RECIPE, x264=QUICK.replace(":aq-mode=0", "")),
    "with macroblock tree": replace(RECIPE, x264=QUICK.replace(":mbtree=0", "")),
    "crf=23": replace(RECIPE, crf=23),
    "crf=29": replace(RECIPE, crf=29),
}

Read = Callable[[list[int]], torch.Tensor]


def milliseconds(readers: dict[str, Read], count: int, *, rounds: int, clock: str) -> dict[str, list[float]]:
    """Read random clips with all readers in turn; return the time of each. The first two rounds warm up."""
    rng, now = np.random.default_rng(0), CLOCKS[clock]
    spent: dict[str, list[float]] = {name: [] for name in readers}
    for number in range(rounds + 2):
        indices = draw_clip(count, rng)
        for name in sorted(readers, reverse=bool(number % 2)):
            began = now()
            readers[name](indices)
            if number > 1:
                spent[name].append(1e3 * (now() - began))
    return spent


def psnr(one: torch.Tensor, other: torch.Tensor) -> float:
    """Return the ratio of full scale to the error of two clips, in dB."""
    error = (one.float() - other.float()).square().mean().item()
    return 10 * math.log10(255**2 / max(error, 1e-9))


def make_store(videos: Sequence[SourceVideo], out: Path, recipe: Recipe) -> StoreReader:
    """Write a store and open it."""
    out.mkdir()
    prepare_store(videos, out, recipe, shard_bytes=2**28, processes=1, timeout_s=3600)
    return StoreReader(out)


def stored_bytes(store: StoreReader, name: str) -> int:
    """Return the bytes of a video's record."""
    video = store.folder.videos[name]
    return HEAD.size + video.block + video.payload


def measure(video: SourceVideo, stores: dict[str, StoreReader], *, rounds: int, clock: str) -> dict[str, Any]:
    """Return a row: times and ratios of the readers, bytes and quality of the stores."""
    plain = PyavReader()
    at = {name: str(store.folder.root / video.name) for name, store in stores.items()}
    public = public_readers(SIZE)
    readers: dict[str, Read] = {
        name: lambda indices, read=public[name]: read(Path(video.path), indices) for name in (PUBLIC, QUICKER)
    }
    readers[PLAIN] = lambda indices: plain.read(video.path, indices, SIZE)
    for name, store in stores.items():
        readers[name] = lambda indices, s=store, p=at[name]: s.read(p, indices)
    count, first_visit = plain.probe(video.path).num_frames, 0.0
    if VIEW in stores:
        info = stores[VIEW].probe(at[VIEW])
        batch = torch.zeros(FRAMES, 3, info.height, info.width, dtype=torch.uint8)
        readers[COPY] = lambda indices: batch.copy_(stores[VIEW].read(at[VIEW], indices))
        began = CLOCKS[clock]()
        stores[VIEW].read(at[VIEW], range(count))
        first_visit = 1e3 * (CLOCKS[clock]() - began) * FRAMES / count
    spent = milliseconds(readers, count, rounds=rounds, clock=clock)
    info = next(iter(stores.values())).probe(next(iter(at.values())))
    whole = range(0, count, max(1, count // 64))
    original = plain.read(video.path, whole, (info.height, info.width))
    row: dict[str, Any] = {"frames": count, "source_bytes": Path(video.path).stat().st_size}
    for name, values in spent.items():
        ratios = [a / b for a, b in zip(spent[PUBLIC], values, strict=True)]
        row[name] = {"milliseconds": quartiles(values), "times_decord": quartiles(ratios)}
    if VIEW in stores:
        row[VIEW]["first_visit_milliseconds"] = first_visit
    for name, store in stores.items():
        row[name]["bytes"] = stored_bytes(store, video.name)
        row[name]["psnr"] = psnr(store.read(at[name], whole), original)
    return row


def geometric_mean(rows: dict[str, dict[str, Any]], name: str) -> float:
    """Return the mean over files of how many times decord's speed a reader has."""
    return statistics.geometric_mean(row[name]["times_decord"][1] for row in rows.values())


def table(rows: dict[str, dict[str, Any]]) -> list[str]:
    """Return milliseconds, then times decord with the means below, then what the store costs."""
    lines = [f"| ms a clip | frames | {' | '.join(READERS)} |", "|---" * (len(READERS) + 2) + "|"]
    for file, row in rows.items():
        cells = " | ".join(f"{row[name]['milliseconds'][1]:.2f}" for name in READERS)
        lines.append(f"| {file} | {row['frames']} | {cells} |")
    lines += ["", f"| times {PUBLIC} | {' | '.join(READERS[1:])} |", "|---" * len(READERS) + "|"]
    for file, row in rows.items():
        cells = " | ".join(f"{row[name]['times_decord'][1]:.1f}" for name in READERS[1:])
        lines.append(f"| {file} | {cells} |")
    long = {file: row for file, row in rows.items() if row["frames"] >= CLIP_FRAMES}
    means = {"all": rows, f"those of at least {CLIP_FRAMES} frames": long or rows}
    for which, some in means.items():
        cells = " | ".join(f"**{geometric_mean(some, name):.1f}**" for name in READERS[1:])
        lines.append(f"| geometric mean, {which} | {cells} |")
    lines += ["", "| store | bytes of the source | PSNR |", "|---|---|---|"]
    for file, row in rows.items():
        share = row[STORE]["bytes"] / row["source_bytes"]
        lines.append(f"| {file} | {share:.2f} | {row[STORE]['psnr']:.1f} dB |")
    share, quality = total(rows, STORE)
    lines.append(f"| all together, median PSNR | **{share:.2f}** | {quality:.1f} dB |")
    first = statistics.median(row[VIEW]["first_visit_milliseconds"] for row in rows.values())
    lines += ["", f"The first time that a process reads raw frames it also checks their sums: {first:.1f} ms"]
    lines[-1] += f" for {FRAMES} frames (median of the files)."
    return lines


def total(rows: dict[str, dict[str, Any]], name: str) -> tuple[float, float]:
    """Return the bytes of a store over those of the sources, and the median quality."""
    share = sum(row[name]["bytes"] for row in rows.values()) / sum(
        row["source_bytes"] for row in rows.values()
    )
    return share, statistics.median(row[name]["psnr"] for row in rows.values())


def sweep(videos: Sequence[SourceVideo], folder: Path, *, rounds: int, clock: str) -> dict[str, Any]:
    """Measure other ways to encode."""
    found: dict[str, Any] = {}
    for number, (name, recipe) in enumerate(SWEEP.items()):
        store = make_store(videos, folder / f"sweep{number}", recipe)
        rows = {v.name: measure(v, {STORE: store}, rounds=rounds // 2, clock=clock) for v in videos}
        share, quality = total(rows, STORE)
        found[name] = {"times_decord": geometric_mean(rows, STORE), "bytes": share, "psnr": quality}
        print(name, json.dumps(found[name]), file=sys.stderr, flush=True)
    return found


def sweep_table(found: dict[str, Any]) -> list[str]:
    """Return the ways to encode as a table."""
    base = f"gop={RECIPE.gop}, crf={RECIPE.crf}, preset={RECIPE.preset}"
    lines = [
        f"Other ways to encode, each a change to the one above ({base}, one reference, without",
        "loop filter, arithmetic coding, psychovisual tuning, adaptive quantisation and macroblock tree):",
        "",
        "| | times decord | bytes of the source | median PSNR |",
        "|---|---|---|---|",
    ]
    for name, row in found.items():
        lines.append(f"| {name} | {row['times_decord']:.1f} | {row['bytes']:.2f} | {row['psnr']:.1f} dB |")
    return lines


HEADING = """# Clips from a prepared store, and from the originals

Clips of {frames} frames, stride {stride}, random start, short side {size}, one thread; every sound H.264 file
of the folder. decord reads originals as the public V-JEPA 2 code does (the file opened for each clip, native
decode, then float32 and `interpolate`), and with torchvision's uint8 resize, which is quicker; our reader of
originals is `data.reader=pyav`. Store and raw are what `python -m worldjepa.prepare data.size={size}` writes.
A raw clip is handed out as a view of the mapped file, of which nothing is read yet; copied, it stands in a
tensor that was there before. A video shorter than a clip repeats its last frame, which takes a copy. Medians
over clips read by all in turn; ratios clip by clip. PSNR: against the originals at that size.
"""


def markdown(rows: dict[str, dict[str, Any]], swept: dict[str, Any], circumstances: dict[str, str]) -> str:
    """Return the report."""
    heading = HEADING.format(frames=FRAMES, stride=STRIDE, size=SIZE)
    lines = [heading, *(f"- {key}: {value}" for key, value in circumstances.items()), "", *table(rows)]
    if swept:
        lines += ["", *sweep_table(swept)]
    return "\n".join(lines) + "\n"


def main(argv: list[str] | None = None) -> int:
    """Measure, print, and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("videos", type=Path)
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--clock", choices=CLOCKS, default="cpu")
    parser.add_argument("--sweep", action="store_true", help="also try other ways to encode (minutes each)")
    parser.add_argument("--out", help="write <out>.md and <out>.json")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    decord.logging.set_level(decord.logging.QUIET)
    videos = sound_videos(options.videos, "h264")
    if not videos:
        print(f"{options.videos}: no sound H.264 file", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        stores = {
            STORE: make_store(videos, folder / "store", RECIPE),
            VIEW: make_store(videos, folder / "raw", replace(RECIPE, raw=True)),
        }
        rows = {v.name: measure(v, stores, rounds=options.rounds, clock=options.clock) for v in videos}
        swept = sweep(videos, folder, rounds=options.rounds, clock=options.clock) if options.sweep else {}
    words = sys.argv[1:] if argv is None else argv
    circumstances = describe(
        " ".join(["python -m benchmarks.prepared_store", "/videos", *words[1:]]), 1, options.clock
    ) | {"rounds": str(options.rounds)}
    versions = {"torch": torch.__version__, "av": av.__version__, "decord": decord.__version__}
    circumstances["versions"] = ", ".join(f"{key} {value}" for key, value in versions.items())
    text = markdown(rows, swept, circumstances)
    print(text)
    if options.out:
        write_results(circumstances, {"files": rows, "sweep": swept}, text, options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
