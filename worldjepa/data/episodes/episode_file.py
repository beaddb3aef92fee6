"""One episode as one safetensors file: plain arrays, and images compressed one by one.

The images of a camera, ``[f c y x]`` (channels apart: it compresses better, and models take it so), are LZ4
blocks joined to one array of bytes; ``<name>.offsets`` says where each begins and where the last one ends. So
any frame is read without the others. All other arrays stand as they are. The metadata hold two JSON objects:
``worldjepa``, what the caller says of the episode, and ``images``, the shape of one image by name.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import UInt8
from safetensors.numpy import save

# Of what was tried on rendered frames the quickest to decode (zstd: 8 times slower). Level 3 is the first of
# LZ4's thorough ones: slower to write, but smaller by 40 % than the quick one and quicker to decode.
CODEC, LEVEL = "lz4_raw", 3
_DTYPES = {"F32": np.dtype("<f4"), "U8": np.dtype("u1"), "I64": np.dtype("<i8")}


class TornEpisodeError(ValueError):
    """A file is no whole episode: cut off, damaged, or written by something else."""


def write_episode_file(
    path: Path,
    arrays: Mapping[str, np.ndarray],
    images: Mapping[str, UInt8[np.ndarray, "f c y x"]],
    about: Mapping[str, Any],
) -> int:
    """Write a file so that it appears whole or not at all, and is on the disk; return its size in bytes.

    ``arrays`` are float32, int64 or uint8, ``about`` plain JSON values.
    """
    codec = pa.Codec(CODEC, LEVEL)
    parts = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    for name, stack in images.items():
        blocks = [codec.compress(np.ascontiguousarray(image).data, asbytes=True) for image in stack]
        parts[name] = np.frombuffer(b"".join(blocks), np.uint8)
        parts[f"{name}.offsets"] = np.cumsum([0, *map(len, blocks)], dtype=np.int64)
    shapes = {name: stack.shape[1:] for name, stack in images.items()}
    content = save(parts, {"worldjepa": json.dumps(about), "images": json.dumps(shapes)})
    staging = path.with_name(f".{path.name}.staging")  # what a killed writer left is overwritten here
    with staging.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.rename(staging, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return len(content)


class EpisodeFile:
    """What a file holds, mapped into memory and checked against its size. Files never change once written.

    torch maps it, because Python's own map keeps a file descriptor open, of which there are too few.
    """

    def __init__(self, path: Path):
        self.path = path
        try:
            content = torch.from_file(str(path), size=path.stat().st_size, dtype=torch.uint8).numpy()
            base = 8 + int.from_bytes(content[:8].tobytes(), "little")
            header = json.loads(content[8:base].tobytes())
            metadata = header.pop("__metadata__")
            self.about: dict[str, Any] = json.loads(metadata["worldjepa"])
            self._shapes = {name: tuple(shape) for name, shape in json.loads(metadata["images"]).items()}
            if len(content) != base + max(entry["data_offsets"][1] for entry in header.values()):
                raise ValueError("it has another size than its header says; was it copied in part?")
            self._arrays = {name: _array(content[base:], entry) for name, entry in header.items()}
            self._offsets = {name: self._arrays[f"{name}.offsets"].tolist() for name in self._shapes}
        except (OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise TornEpisodeError(f"{path} is no whole episode: {error}") from error
        self._codec = pa.Codec(CODEC, LEVEL)

    def array(self, name: str) -> np.ndarray:
        """Return an array that is none of images; its memory is the file's."""
        if name not in self._arrays:
            raise TornEpisodeError(f"{self.path} holds no {name!r}, only {', '.join(sorted(self._arrays))}")
        return self._arrays[name]

    def images(
        self, name: str, ids: Sequence[int], out: UInt8[np.ndarray, "f c y2 x2"] | None = None
    ) -> UInt8[np.ndarray, "f c y x"]:
        """Return the images of these numbers, in ``out`` itself if it has their shape."""
        blocks, offsets, shape = self.array(name), self._offsets[name], self._shapes[name]
        wanted = (len(ids), *shape)
        if out is None or out.shape != wanted or not out.flags.c_contiguous:
            out = np.empty(wanted, np.uint8)
        size = math.prod(shape)
        flat = out.reshape(len(ids), size)
        try:
            for place, i in enumerate(ids):
                block = self._codec.decompress(blocks[offsets[i] : offsets[i + 1]], size)
                flat[place] = np.frombuffer(block, np.uint8)
        except (OSError, ValueError) as error:
            raise TornEpisodeError(f"{self.path}: {name} is damaged ({error})") from error
        return out


def _array(content: UInt8[np.ndarray, " bytes"], entry: Mapping[str, Any]) -> np.ndarray:
    start, stop = entry["data_offsets"]
    return content[start:stop].view(_DTYPES[entry["dtype"]]).reshape(entry["shape"])
