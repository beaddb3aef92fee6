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
from dataclasses import asdict
from pathlib import Path

import av
import numpy as np

from worldjepa.data.cache import cache_folder
from worldjepa.data.child import import_path
from worldjepa.data.clips.scenes import MOTIONS, CorpusSettings, Truth, render

log = logging.getLogger(__name__)

VERSION = 2  # raise it when the pictures change: the folder's name hashes it


class CorpusError(RuntimeError):
    """The built-in corpus could not be rendered."""


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
        cache_dir = cache_folder()
    key = json.dumps({"version": VERSION, **_named(settings)}, sort_keys=True)
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


def _named(settings: CorpusSettings) -> dict:
    """Return the settings that name a corpus; ``noise`` came later, and names none where there is none."""
    return {name: value for name, value in asdict(settings).items() if value or name != "noise"}


def _check(settings: CorpusSettings) -> None:
    if settings.size % 8 or settings.size < 32:
        raise ValueError(f"corpus size is {settings.size}; expected a multiple of 8 from 32 on; set size=80")
    if settings.frames < 2:
        raise ValueError(f"corpus frames is {settings.frames}; motion needs 2 frames or more; set frames=24")
    if not 0 <= settings.noise <= 1:
        raise ValueError(f"corpus noise is {settings.noise}; expected a share of the background from 0 to 1")


# --- rendering in processes -----------------------------------------------------------------------


def _render_in_processes(folder: Path, settings: CorpusSettings, processes: int) -> None:
    """Render every ``processes``-th video in each of ``processes`` fresh interpreters.

    Not multiprocessing: fork is unsafe once torch has started threads, and spawn runs the caller's script
    again. A child ends when its parent dies, so that nothing goes on writing into a folder given up.
    """
    single = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    environment = os.environ | single | {"PYTHONPATH": import_path()}
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
                raise CorpusError(f"rendering the built-in corpus failed:\n{complaint.strip()}")
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


def _main() -> None:
    """Render one part, as a child process of ``ensure_corpus``: the job is the last argument, as JSON."""
    job = json.loads(sys.argv[-1])
    settings = CorpusSettings(**job["settings"])
    _render_part(Path(job["folder"]), settings, job["part"], job["parts"], job["parent"])
