"""torchcodec as a reader (optional extra; it loads the FFmpeg libraries of the system)."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import UInt8
from torch import Tensor

from worldjepa.data.video.reader import (
    BadVideoError,
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


class TorchcodecReader:
    """Reads with torchcodec in its exact seek mode. The timeline comes from the packets (PyAV)."""

    def __init__(self):
        self._timelines = PyavReader()

    def probe(self, path: FilePath) -> VideoInfo:
        """Return the timeline and display size of ``path``."""
        timeline = self._timelines.timeline(path)
        if timeline.by_order:
            raise UnsupportedVideoError(
                f"{path}: its timestamps do not give the order of its frames (packed MPEG-4), "
                "but torchcodec trusts them; use data.reader=pyav"
            )
        return self._timelines.probe(path)

    def read(self, path: FilePath, indices: Sequence[int], size: Size = None) -> UInt8[Tensor, "f c y x"]:
        """Return the frames at ``indices``."""
        info = self.probe(path)
        wanted = check_indices(path, indices, info.num_frames)
        try:
            video = VideoDecoder(str(path), seek_mode="exact", num_ffmpeg_threads=1)
            if video.metadata.num_frames != info.num_frames:
                raise UnsupportedVideoError(
                    f"{path}: torchcodec sees {video.metadata.num_frames} frames, the container shows "
                    f"{info.num_frames}; use data.reader=pyav"
                )
            frames = video.get_frames_at(wanted).data
        except (RuntimeError, IndexError) as error:
            raise BadVideoError(f"{path}: {str(error).strip().splitlines()[0]}") from error
        return resize_frames(frames, target_size(frames.shape[2], frames.shape[3], size))
