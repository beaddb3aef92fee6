"""The built-in labelled corpus: moving shapes as real mp4 files, in Kinetics layout, rendered once.

A clip's label is the kind of motion that its shapes share. Shapes, colours, sizes, spins, texture, specks
and places at mid-time are drawn independently of it, and shapes are as often lighter as darker than the
ground, so that the mean picture of all classes is the same and a linear readout of raw pixels stays near
chance. Part of every picture cannot be predicted (a shimmering region, specks on a random walk, shapes that
jitter), as in real video. Beside each ``name.mp4``, ``name.npz`` holds the truth by frame.

    <root>/train/<motion>/<motion>_00000.mp4   .npz
    <root>/val/<motion>/<motion>_00000.mp4     .npz
    <root>/corpus.json
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np

log = logging.getLogger(__name__)

VERSION = 2  # raise it when the pictures change: the folder's name hashes it
MOTIONS = ("slide_left", "slide_right", "slide_up", "slide_down", "grow", "shrink", "still", "jitter")
DIRECTIONS = {  # x, y; y points down
    "slide_left": (-1, 0),
    "slide_right": (1, 0),
    "slide_up": (0, -1),
    "slide_down": (0, 1),
}
SHAPES = ("disc", "square", "triangle", "ring", "cross", "crescent")
SPECKS = 3
MOVERS = 3


@dataclass(frozen=True)
class CorpusSettings:
    """What is rendered. ``size`` in pixels (even, a multiple of 8), ``shimmer`` as a share of full white."""

    train_videos: int = 1600
    val_videos: int = 400
    frames: int = 18
    fps: int = 12
    size: int = 80
    shimmer: float = 0.06
    seed: int = 0


class Truth(NamedTuple):
    """What is really in a video: ``f`` frames, ``o`` shapes, later ones in front of earlier ones.

    ``boxes`` are x0, y0, x1, y1 in pixels (ends outside) around the whole shape, hidden or not.
    ``centres`` are x, y in pixels, ``masks`` the visible pixels.
    """

    motion: str
    boxes: np.ndarray  # float32 [f o 4]
    centres: np.ndarray  # float32 [f o 2]
    masks: np.ndarray  # bool [f o y x]


class Track(NamedTuple):
    """Where one shape is: centre (x, y) and radius as shares of the side, angle in radians, by frame."""

    centre: np.ndarray  # [f 2]
    radius: np.ndarray  # [f]
    angle: np.ndarray  # [f]


def ensure_corpus(
    cache_dir: Path | None = None, settings: CorpusSettings | None = None, processes: int | None = None
) -> Path:
    """Return the folder of the built-in corpus, rendering it first where it is not there yet.

    ``cache_dir`` defaults to ``$XDG_CACHE_HOME/worldjepa`` or ``~/.cache/worldjepa``. The folder's name is
    a hash of ``settings``, so other settings never meet old files. It is rendered beside its place under a
    lock and renamed when whole: a second process waits for the first, and a killed one leaves nothing that
    is ever used. Raises ValueError for settings that cannot be rendered.
    """
    settings = settings or CorpusSettings()
    _check(settings)
    if cache_dir is None:
        cache_dir = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "worldjepa"
    key = json.dumps({"version": VERSION, **asdict(settings)}, sort_keys=True)
    root = Path(cache_dir) / f"corpus-{hashlib.sha256(key.encode()).hexdigest()[:12]}"
    if root.is_dir():
        return root
    root.parent.mkdir(parents=True, exist_ok=True)
    with open(f"{root}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if root.is_dir():  # another process rendered it while we waited
            return root
        for left_over in root.parent.glob(f"{root.name}.partial-*"):  # we hold the lock: its writer is dead
            shutil.rmtree(left_over, ignore_errors=True)
        total = settings.train_videos + settings.val_videos
        log.warning("rendering the built-in corpus, once: %d videos of moving shapes into %s", total, root)
        partial = Path(tempfile.mkdtemp(prefix=f"{root.name}.partial-", dir=root.parent))
        _render_in_processes(partial, settings, processes or os.cpu_count() or 1)
        about = {"motions": MOTIONS, **json.loads(key)}
        (partial / "corpus.json").write_text(json.dumps(about, indent=2) + "\n")
        partial.chmod(0o755)
        partial.rename(root)
    return root


def read_truth(video: Path) -> Truth:
    """Return the truth that lies beside ``video`` (a file of the built-in corpus)."""
    with np.load(Path(video).with_suffix(".npz")) as saved:
        masks = np.unpackbits(saved["masks"], axis=-1).astype(bool)
        return Truth(str(saved["motion"]), saved["boxes"], saved["centres"], masks)


def _check(settings: CorpusSettings) -> None:
    if settings.size % 8 or settings.size < 32:
        raise ValueError(f"corpus size is {settings.size}; expected a multiple of 8 from 32 on; set size=80")
    if settings.frames < 2:
        raise ValueError(f"corpus frames is {settings.frames}; motion needs 2 frames or more; set frames=24")


# --- rendering in processes -----------------------------------------------------------------------


def _render_in_processes(folder: Path, settings: CorpusSettings, processes: int) -> None:
    """Render every ``processes``-th video in each of ``processes`` fresh interpreters.

    Not multiprocessing: fork is unsafe once torch has started threads, and spawn runs the caller's script
    again. A child ends when its parent dies, so that nothing goes on writing into a folder given up.
    """
    paths = [os.path.abspath(entry) for entry in sys.path if entry != ""] + [os.getcwd()]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    environment["OPENBLAS_NUM_THREADS"] = "1"
    children = []
    try:
        for part in range(processes):
            place = {"folder": str(folder), "part": part, "parts": processes, "parent": os.getpid()}
            job = json.dumps({**place, "settings": asdict(settings)})
            command = [sys.executable, "-c", f"from {__name__} import _main; _main()", job]
            children.append(subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True))
        for child in children:
            _, complaint = child.communicate()
            if child.returncode:
                raise RuntimeError(f"rendering the built-in corpus failed:\n{complaint.strip()}")
    finally:
        for child in children:
            if child.poll() is None:
                child.kill()
                child.wait()


def _render_part(folder: Path, settings: CorpusSettings, part: int, parts: int, parent: int) -> None:
    """Render videos ``part``, ``part + parts``, ... of both splits; stop when ``parent`` is gone."""
    counts = {"train": settings.train_videos, "val": settings.val_videos}
    for split_id, (split, count) in enumerate(counts.items()):
        for motion in MOTIONS:
            (folder / split / motion).mkdir(parents=True, exist_ok=True)
        for index in range(part, count, parts):
            if os.getppid() != parent:
                return
            motion = MOTIONS[index % len(MOTIONS)]
            rng = np.random.default_rng((settings.seed, split_id, index))
            frames, truth = render(motion, settings, rng)
            path = folder / split / motion / f"{motion}_{index // len(MOTIONS):05d}.mp4"
            _encode(path, frames, settings.fps)
            saved = truth._replace(masks=np.packbits(truth.masks, axis=-1))
            np.savez_compressed(path.with_suffix(".npz"), **saved._asdict())


def _encode(path: Path, frames: np.ndarray, fps: int) -> None:
    """Write uint8 frames [f y x c] as H.264, so that the same frames give the same bytes.

    One thread, and no lookahead (preset ultrafast): x264's AVX-512 lookahead was seen to choose differently
    from run to run. Such files also decode faster.
    """
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": "20", "preset": "ultrafast"})
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        for picture in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


# --- one video ------------------------------------------------------------------------------------


def render(motion: str, settings: CorpusSettings, rng: np.random.Generator) -> tuple[np.ndarray, Truth]:
    """Return one video, uint8 [f y x c], and its truth, drawn from ``rng``."""
    f, side = settings.frames, settings.size
    ground = rng.uniform(0.35, 0.65, 3)
    planes = _texture(ground, side, rng)[:, None] + _shimmer(settings, rng)  # [c f y x]: quicker than c last
    tracks = [move(motion, f, rng) for _ in range(MOVERS)]
    covers = np.stack([_cover(str(rng.choice(SHAPES)), track, side) for track in tracks], axis=1)
    for mover in range(MOVERS):  # later ones in front
        _paint(planes, covers[:, mover], _contrast(ground, rng))
    for _ in range(SPECKS):
        _paint(planes, _cover("disc", _speck(f, rng), side), _contrast(ground, rng))
    frames = np.empty((f, side, side, 3), np.uint8)
    frames[:] = np.moveaxis(np.clip(planes, 0, 1) * 255 + 0.5, 0, -1)
    centres = np.stack([track.centre * side for track in tracks], axis=1)
    return frames, _truth(motion, covers > 0.5, centres.astype(np.float32))


def _truth(motion: str, solid: np.ndarray, centres: np.ndarray) -> Truth:
    """Return the truth of shapes ``solid``, bool [f o y x], of which later ones hide earlier ones."""
    visible = solid.copy()
    for front in range(1, solid.shape[1]):
        visible[:, :front] &= ~solid[:, front : front + 1]
    seen = np.stack([solid.any(axis=2), solid.any(axis=3)], axis=-1)  # [f o side 2]: by column, by row
    first, end = seen.argmax(axis=2), solid.shape[-1] - seen[:, :, ::-1].argmax(axis=2)
    boxes = np.concatenate([first, end], axis=-1).astype(np.float32) * solid.any(axis=(2, 3))[..., None]
    return Truth(motion, boxes, centres, visible)


def move(motion: str, frames: int, rng: np.random.Generator) -> Track:
    """Return the track of a shape that makes ``motion``; it may leave the picture.

    Size, angle, spin and the place at mid-time are drawn alike for all motions, so that a single frame, or
    the pixels one by one, tell next to nothing. ``jitter`` jumps to a new place near by in every frame.
    """
    u = np.linspace(-0.5, 0.5, frames)
    size, length = rng.uniform(0.11, 0.17), rng.uniform(0.36, 0.48)
    angle = rng.uniform(0, 2 * np.pi) + 2 * np.pi * rng.uniform(-0.2, 0.2) * u
    if motion == "jitter":
        offset = rng.normal(0, 0.05, (frames, 2))
    else:
        offset = (length * u)[:, None] * np.array(DIRECTIONS.get(motion, (0, 0)))
    growth = 2.6 * length * u * {"grow": 1, "shrink": -1}.get(motion, 0)
    return Track(rng.uniform(0.2, 0.8, 2) + offset, size * np.exp(growth), angle)


def _speck(frames: int, rng: np.random.Generator) -> Track:
    """Return the track of a small disc on a random walk, reflected at the borders: not to be predicted."""
    path = rng.uniform(0, 1, 2) + np.cumsum(rng.normal(0, 0.04, (frames, 2)), axis=0)
    return Track(1 - np.abs(1 - np.abs(path) % 2), np.full(frames, 0.022), np.zeros(frames))


def _cover(shape: str, track: Track, side: int) -> np.ndarray:
    """Return what share of each pixel a shape covers, float32 [f y x], from its signed distance."""
    grid = (np.arange(side, dtype=np.float32) + 0.5) / side
    scale = track.radius.astype(np.float32)[:, None, None]
    x = (grid[None, None, :] - track.centre[:, 0, None, None].astype(np.float32)) / scale
    y = (grid[None, :, None] - track.centre[:, 1, None, None].astype(np.float32)) / scale
    cos, sin = (function(track.angle).astype(np.float32)[:, None, None] for function in (np.cos, np.sin))
    distance = _distance(shape, cos * x + sin * y, cos * y - sin * x)
    return np.clip(0.5 - distance * (scale * side), 0, 1)


def _distance(shape: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the (approximate) signed distance to a shape of radius 1, negative inside."""
    if shape == "square":
        return np.maximum(np.abs(x), np.abs(y)) - 0.85
    if shape == "triangle":
        return np.maximum(np.abs(x) * 0.866 - y * 0.5, y) - 0.55
    if shape == "cross":
        long, short = np.maximum(np.abs(x), np.abs(y)), np.minimum(np.abs(x), np.abs(y))
        return np.maximum(long - 1, short - 0.36)
    away = np.sqrt(x * x + y * y)
    if shape == "ring":
        return np.abs(away - 0.72) - 0.28
    if shape == "crescent":
        return np.maximum(away - 1, 0.7 - np.sqrt((x - 0.55) ** 2 + y * y))
    return away - 1  # disc


def _paint(planes: np.ndarray, cover: np.ndarray, colour: np.ndarray) -> None:
    """Lay ``colour`` [c] over ``planes`` [c f y x] in place, as much as ``cover`` [f y x] says."""
    for plane, value in zip(planes, colour, strict=True):
        plane += cover * (value - plane)


def _contrast(ground: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a colour clearly lighter or darker than ``ground``, either as often as the other overall."""
    while True:
        colour = rng.uniform(0, 1, 3)
        if abs(colour.mean() - ground.mean()) > 0.25:
            return colour.astype(np.float32)


def _texture(ground: np.ndarray, side: int, rng: np.random.Generator) -> np.ndarray:
    """Return a smooth coloured texture around ``ground`` that stands still, float32 [c y x]."""
    picture = ground.astype(np.float32)[:, None, None]
    for cells, amplitude in ((4, 0.15), (11, 0.125)):
        picture = picture + _spread(rng.normal(0, amplitude, (3, cells, cells)), side)
    return picture


def _shimmer(settings: CorpusSettings, rng: np.random.Generator) -> np.ndarray:
    """Return brightness noise that is new in every frame, in a random soft part of the picture, [f y x]."""
    noise = _spread(rng.normal(0, settings.shimmer, (settings.frames, 16, 16)), settings.size)
    region = 1 / (1 + np.exp(-8 * _spread(rng.normal(0, 1, (1, 3, 3)), settings.size)))
    return noise * region


def _spread(noise: np.ndarray, side: int) -> np.ndarray:
    """Enlarge [n k k] to [n side side] bilinearly, float32."""
    cells = noise.shape[-1]
    where = np.linspace(0, cells - 1, side, dtype=np.float32)
    up = np.maximum(0, 1 - np.abs(where[:, None] - np.arange(cells, dtype=np.float32)))
    return up @ noise.astype(np.float32) @ up.T


def _main() -> None:
    """Render one part, as a child process of ``ensure_corpus``: the job is the last argument, as JSON."""
    job = json.loads(sys.argv[-1])
    settings = CorpusSettings(**job["settings"])
    _render_part(Path(job["folder"]), settings, job["part"], job["parts"], job["parent"])
