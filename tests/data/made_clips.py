"""Videos made for tests: every frame shows its own number, so that a decoded frame says which one it is."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch

CELL = 16
BITS = 8
HEIGHT, WIDTH = 48, CELL * BITS


def picture(number: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """Return a frame whose upper row of cells is ``number`` in binary, most significant bit left.

    Below it the left half is dark and the right half bright, so that orientation shows.
    """
    frame = np.full((height, width, 3), 60, np.uint8)
    for bit in range(BITS):
        frame[:CELL, bit * CELL : (bit + 1) * CELL] = 230 if number >> (BITS - 1 - bit) & 1 else 20
    frame[CELL:, width // 2 :] = 200
    return frame


def numbers(clip: torch.Tensor) -> list[int]:
    """Read the numbers back from a clip ``[f c y x]`` of native width."""
    cells = (
        clip[:, :, 2 : CELL - 2].float().mean(dim=(1, 2)).unflatten(1, (BITS, CELL))[:, :, 4:-4].mean(dim=2)
    )
    weights = 2 ** torch.arange(BITS - 1, -1, -1)
    return ((cells > 125) * weights).sum(dim=1).tolist()


def make_video(
    path: Path,
    count: int = 24,
    *,
    codec: str = "libx264",
    rate: int = 25,
    options: dict[str, str] | None = None,
    pix_fmt: str = "yuv420p",
    stamps: list[int] | None = None,
    rotation: int | None = None,
    hflip: bool = False,
    gop: int = 8,
    b_frames: int = 2,
    container_options: dict[str, str] | None = None,
    container_format: str | None = None,
) -> Path:
    """Encode ``count`` numbered frames. ``stamps``: their times in milliseconds (None: constant rate)."""
    with av.open(str(path), "w", options=container_options or {}, format=container_format) as container:
        stream = container.add_stream(codec, rate=rate, options=options or {})
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, pix_fmt
        stream.codec_context.gop_size = gop
        stream.codec_context.max_b_frames = b_frames
        stream.codec_context.thread_count = 1
        if stamps is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        if rotation is not None:
            stream.set_display_rotation(rotation, hflip=hflip)
        for number in range(count):
            frame = av.VideoFrame.from_ndarray(picture(number), format="rgb24").reformat(format=pix_fmt)
            if stamps is not None:
                frame.pts, frame.time_base = stamps[number], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def remux(source: Path, target: Path, first_packet: int, options: dict[str, str] | None = None) -> Path:
    """Copy the packets of ``source`` from number ``first_packet`` on, with their timestamps as they are."""
    with av.open(str(source)) as inp, av.open(str(target), "w", options=options or {}) as out:
        stream = out.add_stream_from_template(inp.streams.video[0])
        packets = [packet for packet in inp.demux(video=0) if packet.size]
        for packet in packets[first_packet:]:
            packet.stream = stream
            out.mux(packet)
    return target


def make_audio(path: Path) -> Path:
    """Write a file with sound only."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        for _ in range(20):
            frame.pts = None
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
