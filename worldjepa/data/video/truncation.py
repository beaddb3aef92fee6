"""Tell a file that lacks a part from a whole one, also when its header came first and looks intact."""

from __future__ import annotations

import os

from av.container import InputContainer
from av.video.stream import VideoStream

from worldjepa.data.video.reader import BadVideoError, FilePath

EBML_HEADER, EBML_SEGMENT = 0x1A45DFA3, 0x18538067
INDEXED = {"mp4", "avi"}  # containers that list every packet; Matroska lists key packets at most


def check_length(path: FilePath) -> None:
    """Raise ``BadVideoError`` if a RIFF or Matroska header states more bytes than the file has."""
    size, stated = os.path.getsize(path), _stated_length(path)
    if stated is not None and stated > size:
        raise BadVideoError(f"{path}: is cut off: its header states {stated} bytes, the file has {size}")


def check_index(path: FilePath, container: InputContainer, stream: VideoStream, *, num_packets: int) -> None:
    """Raise ``BadVideoError`` if packets that the index of an mp4 or AVI announces are missing.

    The index says where each packet is and ends. A damaged chunk of an AVI is passed over in silence, and
    the pictures after it are then made of others. The frame count of the header is not used: edit lists make
    it differ from what there is in sound files.
    """
    if not INDEXED & set(container.format.name.split(",")):
        return
    size, entries = os.path.getsize(path), stream.index_entries
    ends = max((entry.pos + entry.size for entry in entries), default=0)
    if ends > size or num_packets < len(entries):
        raise BadVideoError(
            f"{path}: is cut off or has gaps: its index lists {len(entries)} frames in {ends} bytes, "
            f"there are {num_packets} in {size}"
        )


def _stated_length(path: FilePath) -> int | None:
    """Return the length in bytes that a RIFF (AVI) or EBML (Matroska, WebM) header states, if any."""
    with open(path, "rb") as file:
        head = file.read(4096)
    if head[:4] == b"RIFF":
        length = int.from_bytes(head[4:8], "little")
        return None if length in (0, 0xFFFFFFFF) else length + 8
    if int.from_bytes(head[:4], "big") != EBML_HEADER:
        return None
    header_size, start = _ebml_number(head, 4)
    segment = start + (header_size or 0)
    if int.from_bytes(head[segment : segment + 4], "big") != EBML_SEGMENT:
        return None
    length, start = _ebml_number(head, segment + 4)
    return None if length is None else start + length


def _ebml_number(data: bytes, at: int) -> tuple[int | None, int]:
    """Read a variable-length EBML size; returns (value or None for "unknown", where it ends)."""
    if at >= len(data) or data[at] == 0:
        return None, at + 1
    width = 9 - data[at].bit_length()
    bits = 7 * width
    value = int.from_bytes(data[at : at + width], "big") & ((1 << bits) - 1)
    return (None if value == (1 << bits) - 1 else value), at + width
