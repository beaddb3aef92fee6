"""Decoded frames as an upright RGB clip of one size, scaled by FFmpeg's own scaler."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from jaxtyping import UInt8
from torch import Tensor

from worldjepa.data.video.reader import Size, target_size
from worldjepa.data.video.timeline import Timeline


class Canvas:
    """Room for the frames at ``indices`` (sorted, all different), filled in any order.

    At native size frames are converted as ffmpeg does it with ``-pix_fmt rgb24``, bit by bit. Scaled ones
    are made bilinear, with a support that swscale widens when it scales down, plane by plane: half the
    work of packed pixels, and colour is interpolated too.
    """

    def __init__(self, timeline: Timeline, indices: Sequence[int], size: Size):
        height, width = target_size(*timeline.display_size, size)
        self._turns, self._mirror = timeline.quarter_turns, timeline.mirror
        self._height, self._width = (width, height) if self._turns % 2 else (height, width)
        self._native = (self._height, self._width) == (timeline.height, timeline.width)
        self._place = {index: place for place, index in enumerate(indices)}
        shape = (height, width, 3) if self._native else (3, height, width)
        self._pixels = np.empty((len(indices), *shape), np.uint8)
        self._missing = set(indices)
        self._reformatter = VideoReformatter()

    @property
    def missing(self) -> set[int]:
        """Indices of the frames that are not there yet."""
        return self._missing

    def paint(self, index: int, frame: VideoFrame) -> None:
        """Put ``frame`` where the frame at ``index`` belongs."""
        pixels, size = self._pixels[self._place[index]], (self._width, self._height)
        if self._native:
            flags = Interpolation.BICUBIC
            rgb = self._reformatter.reformat(frame, *size, "rgb24", interpolation=flags, threads=1)
            pixels[:] = self._upright(rgb.to_ndarray())
        else:
            flags = Interpolation.BILINEAR
            gbr = self._reformatter.reformat(frame, *size, "gbrp", interpolation=flags, threads=1)
            for channel, plane in zip((1, 2, 0), gbr.planes, strict=True):
                rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
                pixels[channel] = self._upright(rows[: self._height, : self._width])
        self._missing.discard(index)

    def clip(self, indices: Sequence[int]) -> UInt8[Tensor, "f c y x"]:
        """Return the frames at ``indices`` (any order, repeats allowed)."""
        clip = torch.from_numpy(self._pixels)
        places = [self._place[index] for index in indices]
        if places != list(range(len(clip))):
            clip = clip[places]
        return clip.permute(0, 3, 1, 2) if self._native else clip

    def _upright(self, stored: UInt8[np.ndarray, "y x *c"]) -> UInt8[np.ndarray, "y2 x2 *c"]:
        if self._mirror:
            stored = stored[:, ::-1]
        return np.rot90(stored, self._turns) if self._turns else stored
