"""Make the record of one video: read it exactly, at its stored size, and encode it for quick decoding."""

from __future__ import annotations

import math
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.codec.context import Flags
from av.video.codeccontext import VideoCodecContext
from av.video.reformatter import VideoReformatter
from jaxtyping import UInt8

from worldjepa.data.video.index_arrays import pack
from worldjepa.data.video.reader import BadVideoError, UnsupportedVideoError, VideoInfo, target_size
from worldjepa.data.video.reader_pyav import PyavReader
from worldjepa.data.video.store_format import record

_CHUNK_BYTES = 2**28  # frames in memory at once
_RAW_LIMIT = 2**32
_WORST = 51  # x264's scale ends there
_LINE_BYTES = 192  # what a video takes in the other files of the store

# What makes x264's stream quick to decode: no loop filter, variable-length codes in place of arithmetic ones,
# no weighted prediction, one reference. Without "psy" and "aq" the encoder aims at small errors, not looks.
# With "mbtree" its bytes differ by processor, and now and then from one time to the next on the same one.
QUICK = "scenecut=0:bframes=0:ref=1:no-deblock=1:cabac=0:weightp=0:psy=0:aq-mode=0:mbtree=0"


@dataclass(frozen=True)
class Recipe:
    """How a video is stored; see ``StoreConfig``."""

    size: int
    raw: bool
    gop: int
    crf: int
    preset: str
    max_share: float | None
    x264: str = QUICK


@dataclass(frozen=True)
class Order:
    """A video to be stored. ``facts`` go into its record as they are."""

    path: str
    facts: dict[str, Any]
    recipe: Recipe


def store_video(order: Order) -> bytes:
    """Return the record of a video; of a bad one, with its reason. Damage anywhere makes it bad."""
    reader = PyavReader()
    try:
        info = reader.probe(order.path)
        pictures = _Pictures(reader, order.path, info, order.recipe.size)
        if order.recipe.raw:
            return _raw_record(order, pictures)
        return _encoded_record(order, pictures, os.path.getsize(order.path))
    except (BadVideoError, UnsupportedVideoError) as error:
        return bad_record(order, str(error).removeprefix(f"{order.path}: "))


def bad_record(order: Order, reason: str) -> bytes:
    """Return the record of a file that cannot be used."""
    return record(pack(order.facts | {"reason": reason}, {}), b"")


class _Pictures:
    """The frames of a video at the stored size, in order; read again for every pass if they are many."""

    def __init__(self, reader: PyavReader, path: str, info: VideoInfo, size: int):
        self._reader, self._path, self.info = reader, path, info
        height, width = target_size(info.height, info.width, min(size, info.height, info.width))
        self.size = (max(2, height - height % 2), max(2, width - width % 2))  # colours are stored by fours
        self._chunk = max(1, _CHUNK_BYTES // (3 * self.size[0] * self.size[1]))
        self._kept: UInt8[np.ndarray, "f y x c"] | None = None

    def __len__(self) -> int:
        return self.info.num_frames

    def chunks(self) -> Iterator[UInt8[np.ndarray, "f y x c"]]:
        """Yield the frames, as many at a time as memory should hold."""
        if self._kept is not None:
            yield self._kept
            return
        for start in range(0, len(self), self._chunk):
            indices = range(start, min(len(self), start + self._chunk))
            frames = self._reader.read(self._path, indices, self.size)
            frames = frames.permute(0, 2, 3, 1).contiguous().numpy()
            if len(frames) == len(self):
                self._kept = frames
            yield frames


def _raw_record(order: Order, pictures: _Pictures) -> bytes:
    height, width = pictures.size
    total = 3 * height * width * len(pictures)
    if total > _RAW_LIMIT:
        raise UnsupportedVideoError(
            f"its frames take {total / 1e9:.1f} GB, a raw store holds {_RAW_LIMIT / 1e9:.1f} of a video; "
            "leave prepare.raw out"
        )
    payload, sums = bytearray(), []
    for chunk in pictures.chunks():
        planes = np.ascontiguousarray(chunk.transpose(0, 3, 1, 2))  # as clips are handed out: nothing to turn
        sums += [zlib.crc32(frame) for frame in planes]
        payload += planes.tobytes()
    facts = order.facts | {"source_bytes": os.path.getsize(order.path)}
    facts |= {"height": height, "width": width, "gop": 1}
    arrays = {"seconds": pictures.info.timestamps, "sums": np.array(sums, np.uint32)}
    return record(pack(facts, arrays), bytes(payload))


def _encoded_record(order: Order, pictures: _Pictures, source_bytes: int) -> bytes:
    """Encode, and while the record is larger than the source allows, again at a lower quality."""
    recipe = order.recipe
    limit = math.inf
    if recipe.max_share is not None:
        limit = max(1.0, recipe.max_share * source_bytes - _LINE_BYTES)
    crf = recipe.crf
    while True:
        whole = _encode(order, pictures, crf)
        if len(whole) <= limit or crf == _WORST:
            return whole
        # six steps of the scale halve the bytes, roughly
        crf = min(_WORST, crf + max(1, math.ceil(6 * math.log2(len(whole) / limit))))


def _encode(order: Order, pictures: _Pictures, crf: int) -> bytes:
    gop = order.recipe.gop
    encoder = _encoder(pictures.size, order.recipe, crf)
    reformatter = VideoReformatter()
    packets, number = list[bytes](), 0
    for chunk in pictures.chunks():
        for picture in chunk:
            rgb = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame = reformatter.reformat(rgb, format="yuv420p", threads=1)
            frame.pts = number
            packets += [bytes(packet) for packet in encoder.encode(frame)]
            number += 1
    packets += [bytes(packet) for packet in encoder.encode(None)]
    assert len(packets) == len(pictures), (len(packets), len(pictures))
    groups = [b"".join(packets[start : start + gop]) for start in range(0, len(packets), gop)]
    height, width = pictures.size
    facts = order.facts | {"source_bytes": os.path.getsize(order.path)}
    facts |= {"height": height, "width": width, "gop": gop, "crf": crf}
    facts["decoder"] = (encoder.extradata or b"").hex()
    arrays = {
        "seconds": pictures.info.timestamps,
        "sizes": np.array([len(packet) for packet in packets], np.uint32),
        "sums": np.array([zlib.crc32(group) for group in groups], np.uint32),
    }
    return record(pack(facts, arrays), b"".join(packets))


def _encoder(size: tuple[int, int], recipe: Recipe, crf: int) -> VideoCodecContext:
    gop = recipe.gop
    encoder = av.CodecContext.create("libx264", "w")
    assert isinstance(encoder, VideoCodecContext)
    encoder.height, encoder.width, encoder.pix_fmt = *size, "yuv420p"
    encoder.time_base, encoder.framerate = Fraction(1, 25), Fraction(25, 1)  # of no use: times are kept apart
    encoder.gop_size, encoder.max_b_frames = gop, 0
    encoder.thread_count = 1  # its bytes then do not depend on the machine
    encoder.flags |= int(Flags.global_header)
    params = f"keyint={gop}:min-keyint={gop}:{recipe.x264}"
    encoder.options = {"preset": recipe.preset, "crf": str(crf), "x264-params": params}
    return encoder
