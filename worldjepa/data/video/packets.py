"""What a packet tells without being decoded: that no other picture needs it, or that its bytes are damaged.

Pictures that no other one is predicted from can be left out when nobody wants their own frames: about half
of the packets of a usual H.264 file (its outer B-frames). The marks are those of the standards, in the
header of every NAL unit. Nor do the standards let many zeros follow each other within a packet, while a
hole in a file (a lost block, a download that was not finished) is full of them, and decoders, above all
those of HEVC, make pictures of it without a word.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from av.packet import Packet
from av.video.codeccontext import VideoCodecContext

# Emulation prevention forbids three zeros in a NAL unit; a fourth leaves room for one that trails it.
ZEROS_IN_UNIT = bytes(4)
# Entropy-coded data without NAL units has no such rule, but never this many zeros.
ZEROS_IN_PACKET = bytes(32)
DENSE_CODECS = {"vp8", "libvpx", "vp9", "libvpx-vp9", "av1", "libdav1d", "mpeg4"}

# H.264, table 7-1: slice of a picture; what says nothing to other pictures (SEI, delimiter, filler).
H264_SLICE, H264_ASIDE = 1, {6, 9, 12}
# HEVC, table 7-1: sub-layer non-reference pictures (TRAIL_N ... RSV_VCL_N14); SEI, delimiter, filler.
HEVC_SLICES, HEVC_ASIDE = range(0, 15, 2), {35, 38, 39, 40}


class _Unit(NamedTuple):
    """A NAL unit of a packet: its first two bytes, and where it lies."""

    first: int
    second: int
    start: int
    stop: int


class PacketTests:
    """What can be told of the packets of one stream, by its codec and header (``extradata``)."""

    def __init__(self, codec: VideoCodecContext):
        header = codec.extradata or b""
        self._codec = codec.name
        self._length_bytes = 0  # of what stands before each NAL unit, if units stand after their lengths
        self._layers = 0  # temporal layers of HEVC, if known
        if codec.name == "h264" and len(header) > 4 and header[0] == 1:  # avcC
            self._length_bytes = (header[4] & 3) + 1
        elif codec.name == "hevc" and len(header) > 21 and header[0] == 1:  # hvcC
            self._length_bytes = (header[21] & 3) + 1
            self._layers = header[21] >> 3 & 7

    def unreferenced(self, packet: Packet) -> bool:
        """Whether other pictures do without this packet; False where that is unknown."""
        if self._codec == "h264":
            return _only(self._units(packet), _is_h264_slice, _is_h264_aside)
        if self._layers:
            top = self._layers
            return _only(self._units(packet), lambda unit: _is_hevc_slice(unit, top), _is_hevc_aside)
        return False

    def damaged(self, packet: Packet) -> bool:
        """Whether the packet holds more zeros in a row than can be."""
        if self._length_bytes:
            data = bytes(packet)
            return any(data.find(ZEROS_IN_UNIT, u.start, u.stop) >= 0 for u in self._units(packet))
        return self._codec in DENSE_CODECS and ZEROS_IN_PACKET in bytes(packet)

    def _units(self, packet: Packet) -> Iterator[_Unit]:
        data, width, at = memoryview(packet), self._length_bytes, 0
        if not width:  # a byte stream (annex B): units between start codes
            yield from (_Unit(u[0], u[1], 0, 0) for u in bytes(packet).split(b"\0\0\1")[1:] if len(u) > 1)
            return
        while (start := at + width) + 2 <= len(data):
            at = start + int.from_bytes(data[at:start], "big")
            yield _Unit(data[start], data[start + 1], start, at)


def _only(units: Iterator[_Unit], slices: Callable[[_Unit], bool], aside: Callable[[_Unit], bool]) -> bool:
    """Whether there are slices of the one kind, and beside them only what is set aside."""
    found = False
    for unit in units:
        if slices(unit):
            found = True
        elif not aside(unit):
            return False
    return found


def _is_h264_slice(unit: _Unit) -> bool:
    return unit.first & 0x7F == H264_SLICE  # nal_ref_idc 0


def _is_h264_aside(unit: _Unit) -> bool:
    return unit.first & 0x1F in H264_ASIDE


def _is_hevc_slice(unit: _Unit, top: int) -> bool:
    """Whether no picture needs it: those of higher temporal layers may, so only the ``top`` one counts."""
    layer = (unit.first & 1) << 5 | unit.second >> 3
    return unit.first >> 1 & 63 in HEVC_SLICES and layer == 0 and unit.second & 7 == top


def _is_hevc_aside(unit: _Unit) -> bool:
    return unit.first >> 1 & 63 in HEVC_ASIDE
