"""Pictures that move, as H.264 in mp4, which every browser plays."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path

import av
import numpy as np
from jaxtyping import UInt8

CRF = "20"  # quality of x264; lower is better


def write_mp4(target: Path | io.BytesIO, frames: Iterable[UInt8[np.ndarray, "y x 3"]], *, fps: int) -> None:
    """Write a film to a file or into memory, less a last odd row or column: four pixels share a colour.

    Raises:
        ValueError: no frame, or one of a single row or column.
    """
    place = str(target) if isinstance(target, Path) else target
    with av.open(place, "w", format="mp4") as container:
        stream = None
        for frame in frames:
            if stream is None:
                rows, columns = (side // 2 * 2 for side in frame.shape[:2])
                if not rows or not columns:
                    raise ValueError(f"a film needs frames of 2 x 2 pixels or more, got {frame.shape[:2]}")
                stream = container.add_stream("libx264", rate=fps, options={"crf": CRF})
                stream.width, stream.height, stream.pix_fmt = columns, rows, "yuv420p"
            cut = np.ascontiguousarray(frame[: stream.height, : stream.width])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(cut, format="rgb24")))
        if stream is None:
            raise ValueError("a film needs a frame or more, got none")
        container.mux(stream.encode())
