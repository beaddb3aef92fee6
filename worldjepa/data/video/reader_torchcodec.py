"""torchcodec as a reader (optional extra; it loads the FFmpeg libraries of the system)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8
from torch import Tensor

from worldjepa.data.deadline import UNLIMITED, Deadline
from worldjepa.data.video.reader import (
    FileMemory,
    FilePath,
    Size,
    UnsupportedVideoError,
    VideoInfo,
    check_indices,
    target_size,
)
from worldjepa.data.video.reader_pyav import PyavReader
from worldjepa.data.video.resize import resize_frames

try:
    import torchcodec
    from torchcodec.decoders import VideoDecoder  # pyright: ignore[reportPrivateImportUsage]
except ModuleNotFoundError as error:
    raise ImportError(
        "data.reader=torchcodec needs the package torchcodec: python -m pip install torchcodec"
    ) from error
except (ImportError, OSError, RuntimeError) as error:  # older than 0.17: without FFmpeg a RuntimeError
    said = str(error).strip().partition("\n")[0]
    raise ImportError(
        f"torchcodec is installed but does not load ({said}); it has to fit the version of torch, and needs "
        "FFmpeg: python -m pip install -U torchcodec; sudo apt-get install ffmpeg"
    ) from error
if torchcodec.ffmpeg_major_version is None:  # pyright: ignore[reportPrivateImportUsage]
    raise ImportError(
        "torchcodec finds no FFmpeg libraries to load; install them: sudo apt-get install ffmpeg"
    )

SAME_S = 2e-3  # containers round timestamps, Matroska to milliseconds


class TorchcodecReader:
    """Reads with torchcodec in its exact seek mode. The timeline comes from the packets (PyAV).

    Its frames say when they are shown; where that differs from the timeline, the file is refused.
    """

    def __init__(self, index: FileMemory | None = None, deadline: Deadline = UNLIMITED):
        self._exact = PyavReader(index=index, deadline=deadline)

    def probe(self, path: FilePath) -> VideoInfo:
        """Return the timeline and display size of ``path``."""
        timeline = self._exact.timeline(path)
        if timeline.by_order:
            raise UnsupportedVideoError(
                f"{path}: its timestamps do not give the order of its frames (packed MPEG-4), "
                "but torchcodec trusts them; use data.reader=pyav"
            )
        if timeline.is_turned_jpeg:
            raise UnsupportedVideoError(
                f"{path}: torchcodec ignores how its JPEGs are to be turned; use data.reader=pyav"
            )
        return self._exact.probe(path)

    def read(self, path: FilePath, indices: Sequence[int], size: Size = None) -> UInt8[Tensor, "f c y x"]:
        """Return the frames at ``indices``."""
        info = self.probe(path)
        wanted = check_indices(path, indices, info.num_frames)
        try:
            video = VideoDecoder(str(path), seek_mode="exact", num_ffmpeg_threads=1)
            batch = video.get_frames_at(wanted)
        except (RuntimeError, IndexError) as error:
            self._exact.read(path, wanted)  # says so if the file is bad
            raise UnsupportedVideoError(
                f"{path}: torchcodec fails ({str(error).strip().splitlines()[0]}); use data.reader=pyav"
            ) from error
        frames, late = batch.data, np.abs(batch.pts_seconds.numpy() - info.timestamps[wanted]).max()
        if late > SAME_S or frames.shape[2:] != (info.height, info.width):
            raise UnsupportedVideoError(
                f"{path}: torchcodec gives other frames than those asked for (up to {late:.3f} s apart, "
                f"{frames.shape[3]} x {frames.shape[2]} pixels); use data.reader=pyav"
            )
        return resize_frames(frames, target_size(frames.shape[2], frames.shape[3], size))
