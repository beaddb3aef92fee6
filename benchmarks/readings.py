"""The files that readers are compared on, the public readers as they are used, and who is right."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

import av
import decord
import numpy as np
import torch
from av.video.reformatter import Interpolation
from torch.nn.functional import interpolate
from torchvision.transforms.v2 import functional as v2

from tests.data.made_clips import KINDS, announce, make_audio, make_video, trim, two_streams
from worldjepa.data.video.reader import target_size

SUFFIXES = {".mp4", ".mkv", ".avi", ".mov"}
ODD = ("open_gop.mp4", "intra_refresh.mp4", "transport.ts", "b_frames.avi", "ten_bit.mp4", "hevc.mp4")
Read = Callable[[Path, list[int]], torch.Tensor]

decord.logging.set_level(decord.logging.QUIET)


# --- the public readers --------------------------------------------------------------------------------


def public_readers(size: int | None) -> dict[str, Read]:
    """Return the packages as they are used without us; frames come as [f c y x]."""
    readers: dict[str, Read] = {
        "decord, float32": lambda path, indices: _as_floats(_decord(path, indices), size),
        "decord, uint8": lambda path, indices: _as_bytes(_decord(path, indices), size),
    }
    try:
        from torchcodec.decoders import VideoDecoder  # pyright: ignore[reportPrivateImportUsage]
    except (ImportError, OSError, RuntimeError):
        return readers
    for mode in ("exact", "approximate"):

        def read(path: Path, indices: list[int], mode: str = mode) -> torch.Tensor:
            video = VideoDecoder(str(path), seek_mode=mode, num_ffmpeg_threads=1)  # pyright: ignore[reportArgumentType]
            return _as_bytes(video.get_frames_at(indices).data, size)

        readers[f"torchcodec, {mode}"] = read
    return readers


def _decord(path: Path, indices: list[int]) -> torch.Tensor:
    """Decode at native size as src/datasets/video_dataset.py of V-JEPA 2 does, with one thread."""
    try:
        video = decord.VideoReader(str(path), num_threads=1, ctx=decord.cpu(0))
        video.seek(0)
        frames = video.get_batch(indices).asnumpy()
    except decord.DECORDError as error:  # derives from Exception
        raise RuntimeError(str(error)) from error
    return torch.from_numpy(frames).permute(0, 3, 1, 2)


def _as_floats(frames: torch.Tensor, size: int | None) -> torch.Tensor:
    """Resize as the public transforms do: float32, channels first of all, bilinear."""
    if size is None:
        return frames
    video = frames.to(torch.float32).transpose(0, 1)
    sides = target_size(frames.shape[2], frames.shape[3], size)
    return interpolate(video, size=sides, mode="bilinear", align_corners=False).transpose(0, 1)


def _as_bytes(frames: torch.Tensor, size: int | None) -> torch.Tensor:
    if size is None:
        return frames
    return v2.resize(frames, list(target_size(frames.shape[2], frames.shape[3], size)), antialias=True)


# --- who is right ----------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def reference(path: Path) -> list[np.ndarray]:
    """Return every frame [y x c] of a sound file: its largest stream decoded in order, upright."""
    with av.open(str(path)) as container:
        stream = max(container.streams.video, key=lambda s: s.width * s.height)
        frames = []
        for frame in container.decode(stream):
            rgb = frame.reformat(format="rgb24", interpolation=Interpolation.BICUBIC).to_ndarray()
            frames.append(np.rot90(rgb, frame.rotation // 90))
    return frames


def judge(frames: torch.Tensor, indices: Sequence[int], truth: Sequence[np.ndarray]) -> int:
    """Return how many frames are wrong: 3 of 255 or more off on average, or as near to a neighbour."""
    wrong = 0
    for index, frame in zip(indices, frames.permute(0, 2, 3, 1).numpy(), strict=True):
        near = {i: _distance(frame, truth[i]) for i in range(index - 1, index + 2) if 0 <= i < len(truth)}
        others = [near[i] for i in near if i != index and not np.array_equal(truth[i], truth[index])]
        wrong += not (near[index] <= 3 and all(near[index] < other for other in others))
    return wrong


def _distance(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one.astype(int) - other).mean()) if one.shape == other.shape else float("inf")


# --- files -------------------------------------------------------------------------------------------------


def sound_clips(clips: Path) -> list[Path]:
    """Return the clips of the folder that are whole."""
    return sorted(p for p in clips.iterdir() if p.suffix in SUFFIXES and p.name != "corrupted.mp4")


def odd_files(folder: Path) -> list[Path]:
    """Make sound files that readers are known to stumble over."""
    stamps = [0, 10, 20, 100, 110, 400] + [500 + 40 * k for k in range(10)]
    return [
        *(make_video(folder / name, **KINDS[name]) for name in ODD),
        make_video(folder / "variable_rate.mp4", count=16, stamps=stamps),
        trim(make_video(folder / "whole.mp4", b_frames=0), folder / "edit_list.mp4"),
        two_streams(folder / "two_streams.mp4", large_first=False),
    ]


def bad_files(clips: Path, folder: Path) -> dict[str, tuple[Path, Path]]:
    """Make bad files of a real clip; return each with the good one whose frames it would show."""
    source = clips / "test.mp4"
    whole = source.read_bytes()
    first = make_video(folder / "first.mp4", container_options={"movflags": "faststart"})
    flipped, hole = bytearray(whole), bytearray(whole)
    rng = np.random.default_rng(0)
    for place in rng.integers(len(whole) // 10, len(whole) * 9 // 10, 300):
        flipped[place] ^= int(rng.integers(1, 256))
    hole[len(hole) // 2 : len(hole) // 2 + 4096] = bytes(4096)
    contents = {
        "empty": b"",
        "a web page": b"<!DOCTYPE html><html><body>404</body></html>" * 20,
        "cut off": whole[: len(whole) * 7 // 10],
        "cut off, header first": first.read_bytes()[: first.stat().st_size * 7 // 10],
        "300 bytes flipped": bytes(flipped),
        "4 KiB of zeros": bytes(hole),
    }
    files = {"missing": (folder / "missing.mp4", source)}
    for kind, content in contents.items():
        path = folder / f"{kind}.mp4"
        path.write_bytes(content)
        files[kind] = (path, first if "header" in kind else source)
    files["audio only"] = (make_audio(folder / "audio.mp4"), source)
    files["announces 30000 x 30000"] = (announce(folder / "vast.mjpeg", 30000), source)
    return files
