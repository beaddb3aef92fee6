"""A file's timeline: which frames it shows, when, and from which key packet each can be decoded.

Normally one pass over the packets tells it. Two kinds of file need a full decode instead: those whose
packet timestamps do not say the order of presentation (AVI with B-frames: packed MPEG-4 holds two
frames in one packet) and VP8, whose hidden frames are packets that show nothing.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.sidedata.sidedata import SideData
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from jaxtyping import Float64, Int64

from worldjepa.data.deadline import UNLIMITED, Deadline
from worldjepa.data.video.decoding import CheckedDecoder, complaints, decode_all, open_video, pick_stream
from worldjepa.data.video.reader import BadVideoError, FilePath
from worldjepa.data.video.truncation import check_index, check_length


@dataclass(frozen=True, eq=False)
class Timeline:
    """The frames of a video in presentation order.

    ``pts`` is in the stream's time base. Frame ``i`` decodes from key packet number ``entry[i]``, whose
    timestamps are in ``key_pts`` and ``key_dts``. ``by_order``: timestamps cannot be trusted, so decode
    from the start and count. ``open_gop``: some frames shown before a key packet's come after it in the
    file. Stored frames of ``height`` x ``width`` come upright by mirroring them left
    to right (if ``mirror``) and then turning them ``quarter_turns`` times counter-clockwise.
    """

    pts: Int64[np.ndarray, " f"]
    seconds: Float64[np.ndarray, " f"]
    entry: Int64[np.ndarray, " f"]
    key_pts: Int64[np.ndarray, " k"]
    key_dts: Int64[np.ndarray, " k"]
    by_order: bool
    open_gop: bool
    container: str
    codec: str
    height: int
    width: int
    quarter_turns: int
    mirror: bool

    @property
    def display_size(self) -> tuple[int, int]:
        """Height and width as displayed."""
        return (self.width, self.height) if self.quarter_turns % 2 else (self.height, self.width)

    @property
    def is_turned_jpeg(self) -> bool:
        """Whether its frames are JPEGs to be turned: if their own EXIF says so, only PyAV tells."""
        return self.codec == "mjpeg" and self.quarter_turns > 0


class _Mark(NamedTuple):
    """What the timeline needs of one packet."""

    pts: int | None
    dts: int | None
    is_key: bool
    is_shown: bool


class _Frames(NamedTuple):
    """The shown frames: timestamps (or counts, if ``by_order``) and the key packet that leads to each."""

    pts: list[int]
    entry: list[int]
    by_order: bool


def read_timeline(path: FilePath, deadline: Deadline = UNLIMITED) -> Timeline:
    """Work out the timeline of ``path``; raises our own errors for bad files, or av's."""
    check_length(path)
    with open_video(path) as container:
        stream = pick_stream(container, path)
        marks, first = _scan(container, stream, path, deadline)
        check_index(path, container, stream, num_packets=len(marks))
        format_name, codec = container.format.name, stream.codec_context.name
        needs_decode = codec in ("vp8", "libvpx") or (
            format_name == "avi" and stream.codec_context.has_b_frames
        )
        time_base = float(stream.time_base or 1)
        rate = float(stream.average_rate or stream.guessed_rate or 25)
    marks = marks[next((i for i, mark in enumerate(marks) if mark.is_key), 0) :]
    keys = [mark for mark in marks if mark.is_key]
    found = None if needs_decode else _frames_by_packets(marks)
    found = found or _frames_by_decode(path, keys, deadline)
    pts = np.asarray(found.pts, dtype=np.int64)
    if not len(pts):
        raise BadVideoError(f"{path}: no frame is to be shown")
    turns, mirror = orientation(first)
    return Timeline(
        pts=pts,
        seconds=pts / rate if found.by_order else pts * time_base,
        entry=np.asarray(found.entry, dtype=np.int64),
        key_pts=np.asarray([key.pts or 0 for key in keys], dtype=np.int64),
        key_dts=np.asarray([(key.pts or 0) if key.dts is None else key.dts for key in keys], dtype=np.int64),
        by_order=found.by_order,
        open_gop=_has_leading_pictures(marks),
        container=format_name,
        codec=codec,
        height=first.height,
        width=first.width,
        quarter_turns=turns,
        mirror=mirror,
    )


def orientation(frame: VideoFrame) -> tuple[int, bool]:
    """Return (quarter turns counter-clockwise, mirrored first) of the frame's display matrix.

    The matrix is nine 32-bit integers whose upper left 2 x 2 part maps stored to displayed axes.
    Angles off the right ones do not occur in recordings; they are left as they are. Beside side data of a
    kind that PyAV does not know (the EXIF of a JPEG) only the angle can be had, no mirroring.
    """
    try:
        sides = [side for side in _side_data(frame) if side.type.name == "DISPLAYMATRIX"]
    except ValueError:
        return round(frame.rotation / 90) % 4, False
    if not sides:
        return 0, False
    matrix = np.frombuffer(bytes(sides[0]), dtype=np.int32)
    a, b, c, d = (int(np.sign(matrix[i])) for i in (0, 1, 3, 4))
    mirror = a * d - b * c < 0
    if mirror:
        a, b = -a, -b
    return {(1, 0): 0, (0, -1): 1, (-1, 0): 2, (0, 1): 3}.get((a, b), 0), mirror


def _side_data(frame: VideoFrame) -> list[SideData]:
    """List a frame's side data; PyAV takes numbers there, whatever its annotations say."""
    side_data: Any = frame.side_data
    return [side_data[i] for i in range(len(side_data))]


def _scan(
    container: InputContainer, stream: VideoStream, path: FilePath, deadline: Deadline
) -> tuple[list[_Mark], VideoFrame]:
    """Walk over all packets, decoding only until the first frame appears.

    Damage that this meets makes the clips bad that need it, not the file: the next key packet is tried.
    """
    marks: list[_Mark] = []
    first = failure = None
    seen_key = False
    with complaints() as said:
        decoder = CheckedDecoder(stream, path, deadline, said)
        for packet in container.demux(stream):
            deadline.check()
            lost = next((line for _, name, line in said if name == container.format.name), None)
            if lost is not None and marks:
                raise BadVideoError(f"{path}: is damaged after packet {len(marks)} ({lost.strip()})")
            seen_key = seen_key or packet.is_keyframe
            if first is None and (seen_key or not packet.size):
                try:
                    first = next(iter(decoder(packet if packet.size else None)), None)
                except (BadVideoError, FFmpegError) as error:
                    failure, seen_key = failure or error, False
                    decoder.restart()
            if not packet.size:
                continue
            if packet.is_corrupt:
                raise BadVideoError(
                    f"{path}: its packet {len(marks)} is incomplete (the file is damaged or cut off)"
                )
            marks.append(_Mark(packet.pts, packet.dts, packet.is_keyframe, not packet.is_discard))
    if first is None:
        raise failure or BadVideoError(f"{path}: none of its {len(marks)} video packets could be decoded")
    return marks, first


def _frames_by_packets(marks: list[_Mark]) -> _Frames | None:
    """Read the frames off their packets; None if timestamps are missing or come twice.

    A frame shown before its key packet (a leading picture of an open GOP) needs the key packet before.
    Frames before the first key packet cannot be decoded by anyone and are left out.
    """
    keys: list[int] = []
    found: dict[int, int] = {}
    seen: set[int] = set()
    for mark in marks:
        if mark.pts is None or mark.pts in seen:
            return None
        seen.add(mark.pts)
        if mark.is_key:
            keys.append(mark.pts)
        entry = next((k for k in range(len(keys) - 1, -1, -1) if keys[k] <= mark.pts), None)
        if mark.is_shown and entry is not None:
            found[mark.pts] = entry
    pts = sorted(found)
    return _Frames(pts, [found[stamp] for stamp in pts], by_order=False)


def _frames_by_decode(path: FilePath, keys: list[_Mark], deadline: Deadline) -> _Frames:
    """Decode the whole file; its frames' own timestamps are good if they grow in the decoder's order."""
    with open_video(path) as container, complaints() as said:
        stream = pick_stream(container, path)
        decoder = CheckedDecoder(stream, path, deadline, said)
        stamps = [frame.pts for frame in decode_all(container, stream, decoder)]
    pts = [stamp for stamp in stamps if stamp is not None]
    if len(pts) < len(stamps) or any(one >= other for one, other in pairwise(pts)):
        return _Frames(list(range(len(stamps))), [0] * len(stamps), by_order=True)
    starts = sorted(key.pts for key in keys if key.pts is not None)
    return _Frames(pts, [max(0, bisect_right(starts, stamp) - 1) for stamp in pts], by_order=False)


def _has_leading_pictures(marks: list[_Mark]) -> bool:
    key_pts = None
    for mark in marks:
        if mark.is_key:
            key_pts = mark.pts
        elif mark.pts is not None and key_pts is not None and mark.pts < key_pts:
            return True
    return False
