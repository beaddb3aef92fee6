"""Videos made for tests: every frame shows its own number, so that a decoded frame says which one it is."""

from __future__ import annotations

from fractions import Fraction
from io import BytesIO
from pathlib import Path

import av
import numpy as np
import torch
from PIL import Image

CELL = 16
BITS = 8
HEIGHT, WIDTH = 48, CELL * BITS

# What files there are: name, and how ``make_video`` makes one of them
X265 = {"x265-params": "bframes=3:b-pyramid=1:log-level=none:pools=none"}
KINDS = {
    "h264.mp4": {},
    "h264.mkv": {},
    "transport.ts": {},
    "open_gop.mp4": {"options": {"x264-params": "open-gop=1:bframes=3:b-pyramid=2:b-adapt=0:scenecut=0"}},
    "intra_refresh.mp4": {"options": {"x264-params": "intra-refresh=1:keyint=12"}},
    "fragmented.mp4": {"container_options": {"movflags": "frag_keyframe+empty_moov"}},
    "faststart.mp4": {"container_options": {"movflags": "faststart"}},
    "ten_bit.mp4": {"pix_fmt": "yuv420p10le"},
    "full_range.mp4": {"pix_fmt": "yuvj420p"},
    "hidden_frames.webm": {"codec": "libvpx", "options": {"auto-alt-ref": "1", "lag-in-frames": "16"}},
    "b_frames.avi": {"codec": "mpeg4"},
    "no_b_frames.avi": {"codec": "mpeg4", "b_frames": 0},
    "h264.avi": {},
    "raw.h264": {"container_format": "h264"},
    "hevc.mp4": {"codec": "libx265", "options": X265},
    "layers.mkv": {
        "codec": "libx265",
        "options": {"x265-params": X265["x265-params"] + ":temporal-layers=2"},
    },
    "hidden_frames_vp9.webm": {"codec": "libvpx-vp9", "options": {"lag-in-frames": "16", "cpu-used": "8"}},
    "av1.mkv": {"codec": "libsvtav1", "options": {"preset": "12", "svtav1-params": "lp=1"}},
    "intra.avi": {"codec": "mjpeg", "pix_fmt": "yuvj420p", "b_frames": 0},
    "program.mpg": {"codec": "mpeg2video"},
    "a name, with \n \u00e9\u4e2d.mp4": {},
    "long " * 50 + ".mp4": {},
}


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
    colorspace: int | None = None,
) -> Path:
    """Encode ``count`` numbered frames. ``stamps``: their times in milliseconds (None: constant rate)."""
    with av.open(str(path), "w", options=container_options or {}, format=container_format) as container:
        stream = container.add_stream(codec, rate=rate, options=options or {})
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, pix_fmt
        stream.codec_context.gop_size = gop
        stream.codec_context.max_b_frames = b_frames
        stream.codec_context.thread_count = 1
        if colorspace is not None:
            stream.codec_context.colorspace = colorspace
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


def motion_jpeg(path: Path, orientation: int, count: int = 6) -> Path:
    """Copy numbered JPEGs, each with that EXIF orientation, into a video; into a ``.jpg`` the first alone."""
    jpegs = []
    for number in range(count):
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.fromarray(picture(number)).save(file := BytesIO(), "JPEG", exif=exif, quality=95)
        jpegs.append(file.getvalue())
    if path.suffix == ".jpg":
        path.write_bytes(jpegs[0])
        return path
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=10)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuvj420p"
        for number, jpeg in enumerate(jpegs):
            packet = av.Packet(jpeg)
            packet.stream, packet.time_base, packet.is_keyframe = stream, Fraction(1, 10), True
            packet.pts = packet.dts = number
            container.mux(packet)
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


def trim(source: Path, target: Path) -> Path:
    """Copy the packets of ``source`` so that its first five frames are a pre-roll that an edit list hides."""
    with av.open(str(source)) as inp, av.open(str(target), "w") as out:
        stream = out.add_stream_from_template(inp.streams.video[0])
        for packet in inp.demux(video=0):
            if packet.size and packet.time_base:
                shift = round(0.2 / packet.time_base)  # five frames before zero
                assert packet.pts is not None and packet.dts is not None
                packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, stream
                out.mux(packet)
    return target


def two_streams(path: Path, large_first: bool) -> Path:
    """Write a small dark stream and a large bright one."""
    kinds = [((64, 48), 40), ((96, 80), 200)]
    kinds = kinds[::-1] if large_first else kinds
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("libx264", rate=25) for _ in kinds]
        for stream, ((width, height), _) in zip(streams, kinds, strict=True):
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for stream, ((width, height), level) in zip(streams, kinds, strict=True):
            for _ in range(5):
                image = np.full((height, width, 3), level, np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(stream.encode(None))
    return path


def announce(path: Path, side: int) -> Path:
    """Write one small picture, as JPEG or uncompressed, whose header states a square of that side."""
    jpeg = path.suffix == ".mjpeg"
    if jpeg:
        make_video(path, count=1, b_frames=0, codec="mjpeg", pix_fmt="yuvj420p", container_format="mjpeg")
    else:
        make_video(path, count=1, b_frames=0, codec="rawvideo")
    content = bytearray(path.read_bytes())
    if jpeg:  # start of frame: length, precision, then height and width
        at, size = content.index(b"\xff\xc0") + 5, 2 * side.to_bytes(2, "big")
    else:  # AVI's stream format: name, length, its own length, then width and height
        at, size = content.index(b"strf") + 12, 2 * side.to_bytes(4, "little")
    content[at : at + len(size)] = size
    path.write_bytes(content)
    return path


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
