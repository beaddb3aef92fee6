"""decord as a reader. Its frames are right only where its own timeline agrees with the container's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
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
    import decord
except ImportError as error:
    raise ImportError("data.reader=decord needs the package decord: python -m pip install decord") from error

# decord 0.6.0 carries an FFmpeg without an AV1 decoder, and returns wrong frames of HEVC without a word.
REFUSED_CODECS = {"hevc", "av1", "libdav1d", "libaom-av1"}
# It seeks inexactly in MPEG streams and fills the gaps with neighbouring frames.
REFUSED_CONTAINERS = {"mpegts", "mpeg", "mpegvideo"}

decord.logging.set_level(decord.logging.QUIET)


class DecordReader:
    """Reads with decord: native decode, then resize in torch, as the public V-JEPA loaders do.

    The timeline comes from the packets (PyAV), because decord's own is off after edit lists.
    """

    def __init__(self, index: FileMemory | None = None, deadline: Deadline = UNLIMITED):
        self._exact = PyavReader(index=index, deadline=deadline)

    def probe(self, path: FilePath) -> VideoInfo:
        """Return the timeline and display size of ``path``."""
        timeline = self._exact.timeline(path)
        kind = f"{timeline.codec} in {timeline.container}"
        if timeline.codec in REFUSED_CODECS or timeline.container in REFUSED_CONTAINERS or timeline.by_order:
            raise UnsupportedVideoError(f"{path}: decord does not read {kind} exactly; use data.reader=pyav")
        if timeline.open_gop:
            raise UnsupportedVideoError(
                f"{path}: decord seeks wrongly in its open GOPs; use data.reader=pyav"
            )
        if timeline.mirror:
            raise UnsupportedVideoError(f"{path}: decord ignores that it is mirrored; use data.reader=pyav")
        if timeline.is_turned_jpeg:
            raise UnsupportedVideoError(
                f"{path}: decord ignores how its JPEGs are to be turned; use data.reader=pyav"
            )
        return self._exact.probe(path)

    def read(self, path: FilePath, indices: Sequence[int], size: Size = None) -> UInt8[Tensor, "f c y x"]:
        """Return the frames at ``indices``."""
        info = self.probe(path)
        wanted = check_indices(path, indices, info.num_frames)
        try:
            video = decord.VideoReader(str(path), ctx=decord.cpu(0), num_threads=1)
            self._check_timeline(path, video, info)
            frames = video.get_batch(wanted).asnumpy()
        except decord.DECORDError as error:
            self._exact.read(path, wanted)  # says so if the file is bad
            said = str(error).strip().splitlines()[-1].rpartition("] ")[2]  # without decord's clock times
            raise UnsupportedVideoError(f"{path}: decord fails ({said}); use data.reader=pyav") from error
        clip = torch.from_numpy(frames).permute(0, 3, 1, 2)
        if clip.shape[2:] != (info.height, info.width):
            raise UnsupportedVideoError(
                f"{path}: decord reads another of its streams ({clip.shape[3]} x {clip.shape[2]} pixels); "
                "use data.reader=pyav"
            )
        return resize_frames(clip, target_size(info.height, info.width, size))

    def _check_timeline(self, path: FilePath, video: decord.VideoReader, info: VideoInfo) -> None:
        if len(video) == info.num_frames:
            starts = video.get_frame_timestamp(np.arange(len(video)))[:, 0]
            offset = info.timestamps - starts
            if np.abs(offset - offset[0]).max() < 2e-3:
                return
        raise UnsupportedVideoError(
            f"{path}: decord's timeline differs from the container's "
            f"({len(video)} and {info.num_frames} frames); use data.reader=pyav"
        )
