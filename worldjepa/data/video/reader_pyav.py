"""The default reader: PyAV (FFmpeg), exact by timestamps, decoding no more than a wanted frame needs."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from itertools import groupby

from av.container import InputContainer
from av.error import DecoderNotFoundError, FFmpegError, PatchWelcomeError
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from jaxtyping import UInt8
from torch import Tensor

from worldjepa.data.deadline import UNLIMITED, Deadline
from worldjepa.data.video.canvas import Canvas
from worldjepa.data.video.decoding import CheckedDecoder, complaints, decode_all, open_video, pick_stream
from worldjepa.data.video.index import Found, Key
from worldjepa.data.video.reader import (
    BadVideoError,
    FileMemory,
    FilePath,
    Size,
    UnsupportedVideoError,
    VideoInfo,
    check_indices,
    file_key,
)
from worldjepa.data.video.timeline import Timeline, read_timeline


class _SeekMissedError(Exception):
    """The container could not be brought to the wanted key packet."""


class PyavReader:
    """Reads with PyAV. Timelines are kept for the ``max_known`` files visited last (also bad verdicts).

    ``index`` knows those of earlier runs, and learns those of this one. ``deadline``: when to give up.
    """

    def __init__(
        self, max_known: int = 4096, index: FileMemory | None = None, deadline: Deadline = UNLIMITED
    ):
        self._known: OrderedDict[Key, Found] = OrderedDict()
        self._max_known = max_known
        self._index, self._deadline = index, deadline

    def probe(self, path: FilePath) -> VideoInfo:
        """Return the timeline and display size of ``path``."""
        timeline = self.timeline(path)
        height, width = timeline.display_size
        return VideoInfo(len(timeline.seconds), timeline.seconds, height, width)

    def timeline(self, path: FilePath) -> Timeline:
        """Return the timeline of ``path``, from memory if the file has not changed since."""
        key = file_key(path)
        if key not in self._known:
            self._known[key] = self._look_up(path, key)
            if len(self._known) > self._max_known:
                self._known.popitem(last=False)
        self._known.move_to_end(key)
        known = self._known[key]
        if isinstance(known, ValueError):
            raise type(known)(str(known))
        return known

    def _look_up(self, path: FilePath, key: Key) -> Found:
        found = None if self._index is None else self._index.get(key)
        if found is None:
            found, lasting = examine(path, self._deadline)
            if lasting and self._index is not None:
                self._index.put(key, found)
        return found

    def read(self, path: FilePath, indices: Sequence[int], size: Size = None) -> UInt8[Tensor, "f c y x"]:
        """Return the frames at ``indices``; raises ``BadVideoError`` if damage lies on the way to them."""
        timeline = self.timeline(path)
        wanted = check_indices(path, indices, len(timeline.pts))
        canvas = Canvas(timeline, sorted(set(wanted)), size)
        try:
            if timeline.by_order or not self._read_segments(path, timeline, canvas):
                self._read_from_start(path, timeline, canvas)
        except FFmpegError as error:
            raise _verdict(path, error) from error
        if canvas.missing:
            raise BadVideoError(
                f"{path}: frame {min(canvas.missing)} of {len(timeline.pts)} does not come out of the decoder"
            )
        return canvas.clip(wanted)

    def _read_segments(self, path: FilePath, timeline: Timeline, canvas: Canvas) -> bool:
        """Decode the missing frames, those of each key packet by themselves; tell whether all came.

        Any failure is to be looked at again from the start: there a sound file has no excuse.
        """
        with open_video(path) as container, complaints() as said:
            stream = pick_stream(container, path)
            decoder = CheckedDecoder(stream, path, self._deadline, said)
            for key, run in groupby(sorted(canvas.missing), key=lambda i: int(timeline.entry[i])):
                index_of = {int(timeline.pts[i]): i for i in run}
                try:
                    for frame in _segment(container, stream, decoder, timeline, key, set(index_of)):
                        if frame.pts in index_of:
                            canvas.paint(index_of[frame.pts], frame)
                except (_SeekMissedError, BadVideoError, FFmpegError):
                    return False
        return not canvas.missing

    def _read_from_start(self, path: FilePath, timeline: Timeline, canvas: Canvas) -> None:
        """Decode the file from its first packet; pick by timestamp, or by count where that is untrusted."""
        stamps = range(len(timeline.pts)) if timeline.by_order else timeline.pts.tolist()
        index_of: dict[int | None, int] = {stamps[i]: i for i in canvas.missing}
        with open_video(path) as container, complaints() as said:
            stream = pick_stream(container, path)
            decoder = CheckedDecoder(stream, path, self._deadline, said)
            for count, frame in enumerate(decode_all(container, stream, decoder)):
                index = index_of.get(count if timeline.by_order else frame.pts)
                if index is not None:
                    canvas.paint(index, frame)
                    if not canvas.missing:
                        break


def examine(path: FilePath, deadline: Deadline = UNLIMITED) -> tuple[Found, bool]:
    """Return the timeline of a file, or what is wrong with it, and whether that lasts while it is the same.

    What the system said of it (no permission, a network that is down) may be otherwise the next time.
    """
    try:
        return read_timeline(path, deadline), True
    except (BadVideoError, UnsupportedVideoError) as error:
        return error.with_traceback(None), True
    except (FFmpegError, UnicodeError) as error:
        return _verdict(path, error), not isinstance(error, OSError)


def _segment(
    container: InputContainer,
    stream: VideoStream,
    decoder: CheckedDecoder,
    timeline: Timeline,
    key: int,
    wanted: set[int],
) -> Iterator[VideoFrame]:
    """Yield frames that decode from key packet number ``key``, those at the timestamps ``wanted`` among them.

    Pictures that neither anyone wants nor another is predicted from are left out, and so is what comes after
    the last wanted one. Those shown before the key packet's own lack their references here: they are passed
    over, with whatever the decoder says about them.
    """
    key_pts, left = int(timeline.key_pts[key]), set(wanted)
    for packet in _packets_from(container, stream, timeline, key):
        if packet.pts not in left and decoder.tests.unreferenced(packet):
            continue
        left.discard(packet.pts)
        try:
            frames = decoder(packet)
        except (BadVideoError, FFmpegError):
            if packet.pts is None or packet.pts >= key_pts:
                raise
            continue
        yield from (frame for frame in frames if frame.pts is not None and frame.pts >= key_pts)
        if not left:
            break
    yield from decoder(None)


def _packets_from(
    container: InputContainer, stream: VideoStream, timeline: Timeline, key: int
) -> Iterator[Packet]:
    """Yield the packets from key packet number ``key`` on."""
    key_pts, key_dts = int(timeline.key_pts[key]), int(timeline.key_dts[key])
    if key:  # the first is wanted first, when nothing has been read yet
        container.seek(key_dts, stream=stream)
    packets = (packet for packet in container.demux(stream) if packet.size)
    for packet in packets:
        if packet.pts == key_pts and packet.is_keyframe:
            yield packet
            yield from packets
            return
        if packet.dts is not None and packet.dts > key_dts:
            break
    raise _SeekMissedError


def _verdict(path: FilePath, error: Exception) -> BadVideoError | UnsupportedVideoError:
    """Return our own error for what FFmpeg said about the file."""
    said = getattr(error, "strerror", None) or str(error)
    if isinstance(error, (DecoderNotFoundError, PatchWelcomeError)):
        return UnsupportedVideoError(f"{path}: FFmpeg cannot decode it ({said})")
    return BadVideoError(f"{path}: {said}")
