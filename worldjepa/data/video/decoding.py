"""Open a file and decode its packets; whatever the decoder notices is an error, not a picture."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import av
import av.logging
from av.container import InputContainer
from av.error import InvalidDataError
from av.packet import Packet
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from worldjepa.data.deadline import Deadline
from worldjepa.data.video.packets import PacketTests
from worldjepa.data.video.reader import (
    MAX_PIXELS,
    BadVideoError,
    FilePath,
    UnsupportedVideoError,
    check_pixels,
)

# FFmpeg's own lines would end up amid the progress; what is wrong with a file stands in our errors.
av.logging.set_libav_level(av.logging.PANIC)
# The same line may come again, of another file: it counts again.
av.logging.set_skip_repeated(False)

# A header that announces enormous frames must not get them allocated.
LIMITS = {"max_pixels": str(MAX_PIXELS)}
# What the decoder notices must end the decode, not be painted over with concealed blocks.
DECODER_OPTIONS = {"err_detect": "crccheck+explode", **LIMITS}
# Titles and such that are not UTF-8 are no reason to refuse a file. PyAV 18 has to be told, 19 cannot be.
ANY_METADATA: dict[str, Any] = {"metadata_errors": "replace"} if av.__version__.startswith("18.") else {}


@contextmanager
def complaints() -> Iterator[list[tuple[int, str, str]]]:
    """Collect the lines that FFmpeg logs as errors: not all damage shows in a return value or a flag."""
    av.logging.set_level(av.logging.ERROR)
    try:
        with av.logging.Capture() as said:
            yield said
    finally:
        av.logging.set_level(None)


def open_video(path: FilePath) -> InputContainer:
    """Open a local file and nothing else: a playlist inside it must not make us fetch others.

    Raises ``BadVideoError`` for absurdly large frames; FFmpeg looks at the first ones here.
    """
    options = {"protocol_whitelist": "file", **LIMITS}
    with complaints() as said:
        container = av.open(f"file:{path}", options=options, **ANY_METADATA)
    vast = next((line.strip() for _, _, line in said if line.startswith("Picture size")), None)
    if vast is not None:
        container.close()
        raise BadVideoError(f"{path}: {vast}; at most {MAX_PIXELS} pixels are decoded")
    return container


def pick_stream(container: InputContainer, path: FilePath) -> VideoStream:
    """Return the largest video stream, ready to decode on one thread; cover pictures do not count."""
    moving = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not moving:
        raise BadVideoError(f"{path}: has no video stream")
    readable = [s for s in moving if s.codec_context is not None]
    if not readable:
        raise UnsupportedVideoError(f"{path}: FFmpeg has no decoder for its video stream")
    stream = max(readable, key=lambda s: (s.width * s.height, -s.index))
    check_pixels(path, stream.height, stream.width)
    stream.codec_context.options = DECODER_OPTIONS
    stream.codec_context.thread_count = 1  # the loader's workers are the parallelism
    return stream


class CheckedDecoder:
    """Feeds a stream's decoder. Call it within ``complaints``, whose list it is given."""

    def __init__(
        self, stream: VideoStream, path: FilePath, deadline: Deadline, said: list[tuple[int, str, str]]
    ):
        self._codec, self._path, self._deadline, self._said = stream.codec_context, path, deadline, said
        self.tests = PacketTests(stream.codec_context)

    def __call__(self, packet: Packet | None) -> list[VideoFrame]:
        """Return the frames that come out when ``packet`` goes in; of None, all that are left.

        Raises:
            BadVideoError: the packet, or a frame, is damaged.
            FFmpegError: the decoder gave up for another reason.
            OutOfTimeError: the time of the clip is up.
        """
        self._deadline.check()
        if packet is not None and self.tests.damaged(packet):
            raise BadVideoError(f"{self._path}: the packet at {_seconds(packet)} s has a hole full of zeros")
        self._said.clear()
        try:
            frames = self._codec.decode(packet)
        except InvalidDataError as error:
            raise BadVideoError(f"{self._path}: {error.strerror}{self._first_complaint()}") from error
        if self._said:
            raise BadVideoError(f"{self._path}: the decoder reports damage{self._first_complaint()}")
        for frame in frames:
            if frame.is_corrupt:
                raise BadVideoError(
                    f"{self._path}: the decoder flagged the frame at {frame.time} s as damaged"
                )
        return frames

    def _first_complaint(self) -> str:
        return f" ({self._said[0][2].strip()})" if self._said else ""

    def restart(self) -> None:
        """Forget all frames: the next packet comes from elsewhere."""
        self._codec.flush_buffers()


def decode_all(
    container: InputContainer, stream: VideoStream, decoder: CheckedDecoder
) -> Iterator[VideoFrame]:
    """Yield every frame of the stream, in the decoder's order."""
    for packet in container.demux(stream):  # ends with an empty one
        yield from decoder(packet if packet.size else None)


def _seconds(packet: Packet) -> float | None:
    return None if packet.pts is None else float(packet.pts * packet.time_base)
