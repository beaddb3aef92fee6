"""The videos that are measured, and the clips that are drawn from them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from worldjepa.data.clips.listing import list_files
from worldjepa.data.video.reader import BadVideoError, UnsupportedVideoError
from worldjepa.data.video.reader_pyav import PyavReader
from worldjepa.data.video.store_writer import SourceVideo

FRAMES, STRIDE, SIZE = 16, 4, 224
CLIP_FRAMES = (FRAMES - 1) * STRIDE + 1  # of a video that holds a whole clip


def sound_videos(root: Path, codec: str | None = None) -> list[SourceVideo]:
    """Return the files whose every frame decodes, those of ``codec`` only if it is named."""
    reader, found = PyavReader(), []
    for path in list_files(root).paths:
        try:
            if codec in (None, reader.timeline(path).codec):
                reader.read(path, range(reader.probe(path).num_frames), (16, 16))
                found.append(SourceVideo(path, Path(path).name, None, "train"))
        except (BadVideoError, UnsupportedVideoError):
            continue
    return found


def draw_clip(count: int, rng: np.random.Generator) -> list[int]:
    """Return the frames of a clip at a random place; short videos repeat their last frame."""
    start = int(rng.integers(max(1, count - (FRAMES - 1) * STRIDE)))
    return np.minimum(start + STRIDE * np.arange(FRAMES), count - 1).tolist()
