"""The default reader: PyAV (FFmpeg), exact by timestamps, resized in the decoder's own scaler."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from itertools import groupby

import numpy as np
import torch
from av.container import InputContainer
from av.error import DecoderNotFoundError, FFmpegError, PatchWelcomeError
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from av.video.stream import VideoStream
from jaxtyping import UInt8
from torch import Tensor

from worldjepa.data.video.reader import (
    BadVideoError,
    FilePath,
    Size,
    UnsupportedVideoError,
    VideoInfo,
    check_indices,
    file_key,
    target_size,
)
from worldjepa.data.video.timeline import Timeline, decode_checked, open_video, pick_stream, read_timeline

# At native size the flags of ffmpeg's own conversion (bit-equal to it); when scaling, bilinear, whose
# support swscale widens when it scales down.
NATIVE = Interpolation.BICUBIC
SCALED = Interpolation.BILINEAR


class _SeekMissedError(Exception):
    """The container could not be brought to the wanted key packet."""


class PyavReader:
    """Reads with PyAV. Timelines are kept for the ``max_known`` files visited last (also bad verdicts)."""

    def __init__(self, max_known: int = 4096):
        self._known: OrderedDict[tuple[str, int, int], Timeline | ValueError] = OrderedDict()
        self._max_known = max_known

    def probe(self, path: FilePath) -> VideoInfo:
        """Return the timeline and display size of ``path``."""
        timeline = self.timeline(path)
        height, width = timeline.display_size
        return VideoInfo(len(timeline.seconds), timeline.seconds, height, width)

    def timeline(self, path: FilePath) -> Timeline:
        """Return the timeline of ``path``, from memory if the file has not changed since."""
        key = file_key(path)
        if key not in self._known:
            try:
                self._known[key] = read_timeline(path)
            except (BadVideoError, UnsupportedVideoError) as error:
                self._known[key] = error.with_traceback(None)
            except (FFmpegError, UnicodeError) as error:
                self._known[key] = _verdict(path, error)
            if len(self._known) > self._max_known:
                self._known.popitem(last=False)
        self._known.move_to_end(key)
        known = self._known[key]
        if isinstance(known, ValueError):
            raise type(known)(str(known))
        return known

    def read(self, path: FilePath, indices: Sequence[int], size: Size = None) -> UInt8[Tensor, "f c y x"]:
        """Return the frames at ``indices``; raises ``BadVideoError`` if damage lies on the way to them."""
        timeline = self.timeline(path)
        wanted = check_indices(path, indices, len(timeline.pts))
        paint = _Painter(timeline, size)
        needed = sorted(set(wanted))
        try:
            images = self._seek_and_decode(path, timeline, needed, paint)
            if images is None:
                images = _decode_from_start(path, timeline, needed, paint)
        except FFmpegError as error:
            raise _verdict(path, error) from error
        missing = [i for i in needed if i not in images]
        if missing:
            raise BadVideoError(
                f"{path}: frame {missing[0]} of {len(timeline.pts)} does not come out of the decoder"
            )
        clip = torch.from_numpy(np.stack([images[i] for i in wanted]))
        return clip.permute(0, 3, 1, 2)

    def _seek_and_decode(
        self, path: FilePath, timeline: Timeline, needed: list[int], paint: _Painter
    ) -> dict[int, np.ndarray] | None:
        """Decode each run of frames from its own key packet; None if only a decode from the start can tell.

        Any failure after a seek is looked at again from the start: there a sound file has no excuse.
        """
        if timeline.by_order:
            return None
        images: dict[int, np.ndarray] = {}
        wanted: dict[int | None, int] = {int(timeline.pts[i]): i for i in needed}
        with open_video(path) as container:
            stream = pick_stream(container, path)
            for key, run in _runs(timeline, needed):
                try:
                    for frame in _frames_from(container, stream, timeline, key, path):
                        index = wanted.get(frame.pts)
                        if index is not None:
                            images[index] = paint(frame)
                        if index == run[-1]:
                            break
                except _SeekMissedError:
                    return None
                except (BadVideoError, FFmpegError):
                    if key == 0:  # that was a decode from the start
                        raise
                    return None
        return images if len(images) == len(needed) else None


class _Painter:
    """Turns decoded frames into upright RGB arrays of one size."""

    def __init__(self, timeline: Timeline, size: Size):
        height, width = target_size(*timeline.display_size, size)
        self._turns, self._mirror = timeline.quarter_turns, timeline.mirror
        self._height, self._width = (width, height) if self._turns % 2 else (height, width)
        self._native = (self._height, self._width) == (timeline.height, timeline.width)
        self._reformatter = VideoReformatter()

    def __call__(self, frame: VideoFrame) -> UInt8[np.ndarray, "y x c"]:
        flags = NATIVE if self._native else SCALED
        rgb = self._reformatter.reformat(
            frame, self._width, self._height, "rgb24", interpolation=flags, threads=1
        ).to_ndarray()
        if self._mirror:
            rgb = rgb[:, ::-1]
        return np.rot90(rgb, self._turns) if self._turns else rgb


def _runs(timeline: Timeline, needed: list[int]) -> Iterator[tuple[int, list[int]]]:
    """Group the needed frames into runs that decode on from one key packet.

    A frame that enters by the very next key packet joins the run: decoding on costs what a seek costs.
    """
    run: list[int] = []
    first = last = -2
    for key, group in groupby(needed, key=lambda i: int(timeline.entry[i])):
        if run and key > last + 1:
            yield first, run
            run = []
        if not run:
            first = key
        run, last = run + list(group), key
    yield first, run


def _frames_from(
    container: InputContainer, stream: VideoStream, timeline: Timeline, key: int, path: FilePath
) -> Iterator[VideoFrame]:
    """Yield the frames from key packet number ``key`` on, in presentation order.

    Pictures shown before the key packet's own lack their references here: they are passed over, with
    whatever the decoder says about them.
    """
    key_pts, key_dts = int(timeline.key_pts[key]), int(timeline.key_dts[key])
    container.seek(key_dts, stream=stream)
    packets = container.demux(stream)
    for packet in packets:
        if packet.pts == key_pts and packet.is_keyframe:
            break
        if not packet.size or (packet.dts is not None and packet.dts > key_dts):
            raise _SeekMissedError
    else:
        raise _SeekMissedError
    while True:
        leading = packet.pts is not None and packet.pts < key_pts
        try:
            frames = packet.decode()
        except FFmpegError:
            if not leading:
                raise
            frames = []
        for frame in frames:
            if frame.pts is None or frame.pts < key_pts:
                continue
            if frame.is_corrupt:
                raise BadVideoError(f"{path}: the decoder flagged the frame at {frame.time} s as damaged")
            yield frame
        packet = next(packets, None)
        if packet is None:
            return


def _decode_from_start(
    path: FilePath, timeline: Timeline, needed: list[int], paint: _Painter
) -> dict[int, np.ndarray]:
    """Decode the file from its first packet and pick frames by timestamp, or by count if untrusted."""
    images: dict[int, np.ndarray] = {}
    index_of: dict[int | None, int] = {int(timeline.pts[i]): i for i in needed}
    with open_video(path) as container:
        stream = pick_stream(container, path)
        for count, frame in enumerate(decode_checked(container.demux(stream), path)):
            index = index_of.get(count) if timeline.by_order else index_of.get(frame.pts)
            if index is not None:
                images[index] = paint(frame)
                if len(images) == len(needed):
                    break
    return images


def _verdict(path: FilePath, error: Exception) -> ValueError:
    """Return our own error for what FFmpeg said about the file."""
    said = getattr(error, "strerror", None) or str(error)
    if isinstance(error, (DecoderNotFoundError, PatchWelcomeError)):
        return UnsupportedVideoError(f"{path}: FFmpeg cannot decode it ({said})")
    return BadVideoError(f"{path}: {said}")
