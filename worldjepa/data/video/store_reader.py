"""Read clips from a prepared store: packets go straight to a decoder, no container is opened."""

from __future__ import annotations

import os
import zlib
from collections import OrderedDict
from collections.abc import Sequence
from itertools import groupby
from typing import Any, NamedTuple

import av
import numpy as np
import torch
from av.codec.context import Flags
from av.error import FFmpegError
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from jaxtyping import Int64, UInt8
from torch import Tensor

from worldjepa.data.video.decoding import DECODER_OPTIONS
from worldjepa.data.video.index_arrays import unpack
from worldjepa.data.video.reader import (
    BadVideoError,
    FilePath,
    Size,
    VideoInfo,
    check_indices,
    target_size,
)
from worldjepa.data.video.resize import resize_frames
from worldjepa.data.video.store_format import HEAD, DamagedStoreError, StoredVideo, StoreFolder

_KNOWN, _DECODERS = 4096, 8  # videos whose facts are kept, and decoders: one for each size in use


class _Video(NamedTuple):
    """What is kept of a video. ``starts``: where each packet or frame begins in its shard, and the last ends.

    ``checked``: the groups of raw frames whose sums were compared already.
    """

    info: VideoInfo
    shard: int
    gop: int
    decoder: bytes
    starts: Int64[np.ndarray, " n"]
    sums: list[int]
    checked: set[int]


class StoreReader:
    """Reads from the prepared store in folder ``root``; paths are those of its file list.

    What is read is compared with its check sums, raw frames the first time that this process reads them.
    Raises ``StoreError`` if the store cannot be used at all; ``DamagedStoreError``, which names the shard,
    for a clip of it.
    """

    def __init__(self, root: FilePath):
        self.folder = StoreFolder(root)
        self._base = os.path.join(os.path.abspath(root), "")
        self._known: OrderedDict[str, _Video] = OrderedDict()
        self._decoders: OrderedDict[bytes, VideoCodecContext] = OrderedDict()
        self._files: dict[int, int] = {}
        self._maps: dict[int, UInt8[np.ndarray, " n"]] = {}
        self._reformatter = VideoReformatter()

    def probe(self, path: FilePath) -> VideoInfo:
        """Return the original's timeline and the stored size."""
        return self._video(path).info

    def read(self, path: FilePath, indices: Sequence[int], size: Size = None) -> UInt8[Tensor, "f c y x"]:
        """Return the frames at ``indices``; raw ones may be a view of the mapped file."""
        video = self._video(path)
        wanted = check_indices(path, indices, video.info.num_frames)
        height, width = target_size(video.info.height, video.info.width, size)
        if self.folder.raw:
            frames = torch.from_numpy(self._raw_frames(path, video, wanted))
            return resize_frames(frames, (height, width))
        needed = sorted(set(wanted))
        try:
            images = self._decode(path, video, needed, height, width)
        except FFmpegError as error:
            self._decoders.pop(video.decoder, None)
            raise self._damaged(path, video.shard, f"it does not decode: {error.strerror}") from error
        clip = np.stack([images[i] for i in wanted])
        return torch.from_numpy(clip).permute(0, 3, 1, 2)

    def __getstate__(self) -> dict[str, Any]:
        gone = {"_known": OrderedDict(), "_decoders": OrderedDict(), "_files": {}, "_maps": {}}
        return {k: v for k, v in self.__dict__.items() if k != "_reformatter"} | gone

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._reformatter = VideoReformatter()

    def _video(self, path: FilePath) -> _Video:
        name = str(path).removeprefix(self._base)
        if name not in self._known:
            self._known[name] = self._look_up(path, name)
            if len(self._known) > _KNOWN:
                self._known.popitem(last=False)
        self._known.move_to_end(name)
        return self._known[name]

    def _look_up(self, path: FilePath, name: str) -> _Video:
        stored = self.folder.videos.get(name)
        if stored is None:
            raise BadVideoError(f"{path}: is not in the store {self.folder.root}")
        if stored.reason is not None:
            raise BadVideoError(f"{path}: {stored.reason}")
        block = self._read_at(path, stored.shard, stored.offset + HEAD.size, stored.block)
        try:
            facts, arrays = unpack(block)
        except ValueError as error:
            raise self._damaged(path, stored.shard, str(error)) from error
        info = VideoInfo(len(arrays["seconds"]), arrays["seconds"], facts["height"], facts["width"])
        return _Video(
            info,
            stored.shard,
            facts["gop"],
            bytes.fromhex(facts.get("decoder", "")),
            _starts(stored, arrays, info),
            arrays["sums"].tolist(),
            set(),
        )

    # --- encoded ----------------------------------------------------------------------------------

    def _decode(
        self, path: FilePath, video: _Video, needed: list[int], height: int, width: int
    ) -> dict[int, UInt8[np.ndarray, "y x c"]]:
        """Decode each group of packets with a needed frame, from its keyframe to the last one needed."""
        decoder = self._decoder(video.decoder)
        images: dict[int, np.ndarray] = {}
        scale = None if (height, width) == (video.info.height, video.info.width) else Interpolation.BILINEAR
        for group, members in groupby(needed, key=lambda i: i // video.gop):
            wanted = set(members)
            first = group * video.gop
            last = min(first + video.gop, video.info.num_frames)
            data = self._checked_group(path, video, group, first, last)
            for index in range(first, max(wanted) + 1):
                start, stop = (int(video.starts[i] - video.starts[first]) for i in (index, index + 1))
                frames = decoder.decode(Packet(data[start:stop]))
                if len(frames) != 1 or frames[0].is_corrupt:
                    raise self._damaged(path, video.shard, f"frame {index} does not come out of the decoder")
                if index in wanted:
                    images[index] = self._paint(frames[0], height, width, scale)
        return images

    def _checked_group(self, path: FilePath, video: _Video, group: int, first: int, last: int) -> bytes:
        start, stop = int(video.starts[first]), int(video.starts[last])
        data = self._read_at(path, video.shard, start, stop - start)
        if zlib.crc32(data) != video.sums[group]:
            raise self._damaged(path, video.shard, f"a checksum at byte {start} is wrong")
        return data

    def _paint(
        self, frame: VideoFrame, height: int, width: int, scale: Interpolation | None
    ) -> UInt8[np.ndarray, "y x c"]:
        return self._reformatter.reformat(
            frame, width, height, "rgb24", interpolation=scale, threads=1
        ).to_ndarray()

    def _decoder(self, extradata: bytes) -> VideoCodecContext:
        """Return a decoder for streams of this kind; each group begins anew, so one serves them all."""
        if extradata not in self._decoders:
            decoder = av.CodecContext.create("h264", "r")
            assert isinstance(decoder, VideoCodecContext)
            decoder.extradata = extradata
            decoder.thread_count = 1  # the loader's workers are the parallelism
            decoder.flags |= int(Flags.low_delay)  # no B-frames: each packet gives its frame at once
            decoder.options = DECODER_OPTIONS
            self._decoders[extradata] = decoder
            if len(self._decoders) > _DECODERS:
                self._decoders.popitem(last=False)
        self._decoders.move_to_end(extradata)
        return self._decoders[extradata]

    # --- raw --------------------------------------------------------------------------------------

    def _raw_frames(self, path: FilePath, video: _Video, wanted: list[int]) -> UInt8[np.ndarray, "f c y x"]:
        """Return frames of the mapped shard: a view if they are evenly spaced, else a copy."""
        count, height, width = video.info.num_frames, video.info.height, video.info.width
        start, stop = int(video.starts[0]), int(video.starts[-1])
        frames = self._mapped(path, video.shard)[start:stop].reshape(count, 3, height, width)
        for index in set(wanted) - video.checked:
            if zlib.crc32(frames[index]) != video.sums[index]:
                place = start + index * (stop - start) // count
                raise self._damaged(path, video.shard, f"a checksum at byte {place} is wrong")
            video.checked.add(index)
        step = wanted[1] - wanted[0] if len(wanted) > 1 else 1
        if step > 0 and wanted == list(range(wanted[0], wanted[-1] + 1, step)):
            return frames[wanted[0] : wanted[-1] + 1 : step]
        return frames[wanted]

    # --- shards -----------------------------------------------------------------------------------

    def _read_at(self, path: FilePath, shard: int, offset: int, size: int) -> bytes:
        return os.pread(self._file(path, shard), size, offset)

    def _mapped(self, path: FilePath, shard: int) -> UInt8[np.ndarray, " n"]:
        if shard not in self._maps:
            handle = os.fdopen(os.dup(self._file(path, shard)), "rb")
            self._maps[shard] = np.asarray(np.memmap(handle, np.uint8, mode="c"))
        return self._maps[shard]

    def _file(self, path: FilePath, shard: int) -> int:
        if shard not in self._files:
            entry = self.folder.shards[shard]
            try:
                handle = os.open(self.folder.root / entry["name"], os.O_RDONLY | os.O_CLOEXEC)
            except OSError as error:
                raise self._damaged(path, shard, str(error.strerror)) from error
            size = os.fstat(handle).st_size
            if size != entry["bytes"]:
                os.close(handle)
                raise self._damaged(path, shard, f"it has {size} bytes, {entry['bytes']} were written")
            self._files[shard] = handle
        return self._files[shard]

    def _damaged(self, path: FilePath, shard: int, reason: str) -> DamagedStoreError:
        root = self.folder.root
        name = root / self.folder.shards[shard]["name"]
        return DamagedStoreError(
            f"{path}: {name} is damaged: {reason}; see python -m worldjepa.prepare out={root} "
            "prepare.verify=true"
        )


def _starts(stored: StoredVideo, arrays: dict[str, np.ndarray], info: VideoInfo) -> Int64[np.ndarray, " n"]:
    first = stored.offset + HEAD.size + stored.block
    if "sizes" not in arrays:
        return first + np.arange(info.num_frames + 1, dtype=np.int64) * (3 * info.height * info.width)
    return first + np.concatenate([[0], np.cumsum(arrays["sizes"], dtype=np.int64)])
