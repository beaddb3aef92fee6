"""Which frames of a video make a clip."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

CENTRE = 0.5
# Containers round timestamps (Matroska to milliseconds): a frame this late still counts as shown.
ROUNDING_S = 2e-3


@dataclass(frozen=True)
class ClipSampling:
    """``num_frames`` a clip, spaced by time (``fps``) or by count (``frame_skip``); exactly one of them.

    With ``fps`` the clip shows what a viewer would see at the times t0, t0 + 1/fps, ...: right for a
    variable frame rate, and a source slower than ``fps`` repeats frames. ``short_clips`` says what
    stands after the end of a video shorter than the clip: its last frame (``repeat_last``), or the
    video from its beginning (``loop``). A clip of one frame needs neither ``fps`` nor ``frame_skip``.
    """

    num_frames: int
    fps: float | None = None
    frame_skip: int | None = None
    short_clips: str = "repeat_last"

    def __post_init__(self):
        if self.num_frames < 1:
            raise ValueError(f"data.num_frames={self.num_frames}: expected 1 or more")
        if self.num_frames > 1 and (self.fps is None) == (self.frame_skip is None):
            raise ValueError(
                f"expected one of data.fps and data.frame_skip, got fps={self.fps} and "
                f"frame_skip={self.frame_skip}; set the other to null"
            )
        if self.fps is not None and not 0 < self.fps < float("inf"):
            raise ValueError(f"data.fps={self.fps}: expected a positive number of frames per second")
        if self.frame_skip is not None and self.frame_skip < 1:
            raise ValueError(f"data.frame_skip={self.frame_skip}: expected 1 (every frame) or more")
        if self.short_clips not in ("repeat_last", "loop"):
            raise ValueError(f"data.short_clips={self.short_clips!r}: expected 'repeat_last' or 'loop'")

    def indices(self, timestamps: Float64[np.ndarray, " f"], position: float = CENTRE) -> list[int]:
        """Return ``num_frames`` indices into ``timestamps`` (seconds, presentation order).

        ``position`` in [0, 1] places the clip within the video: 0 first, 0.5 the centre, 1 last.
        """
        if len(timestamps) == 0:
            raise ValueError("timestamps is empty: a clip needs a video of at least one frame")
        if self.fps is not None:
            return self._by_time(np.maximum.accumulate(timestamps), position, self.fps)
        return self._by_count(len(timestamps), position, self.frame_skip or 1)

    def _by_count(self, count: int, position: float, skip: int) -> list[int]:
        room = max(0, count - 1 - (self.num_frames - 1) * skip)
        ids = min(int(position * (room + 1)), room) + np.arange(self.num_frames) * skip
        return (ids % count if self.short_clips == "loop" else np.minimum(ids, count - 1)).tolist()

    def _by_time(self, times: Float64[np.ndarray, " f"], position: float, fps: float) -> list[int]:
        step = float(np.median(np.diff(times))) if len(times) > 1 else 1 / fps
        late = min(ROUNDING_S, step / 4)
        room = max(0.0, times[-1] - times[0] - (self.num_frames - 1) / fps)
        # The clip starts on a frame, else equal rates of source and clip would beat against each other.
        start = times[np.searchsorted(times, times[0] + position * room + late, side="right") - 1]
        wanted = start + np.arange(self.num_frames) / fps
        if self.short_clips == "loop":
            wanted = times[0] + np.mod(wanted - times[0] + late, times[-1] - times[0] + step) - late
        ids = np.searchsorted(times, wanted + late, side="right") - 1
        return np.clip(ids, 0, len(times) - 1).tolist()
