"""Facts and short arrays as one small, checked block of bytes: what is kept of a video beside its frames."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

_HEAD = struct.Struct("<II")  # check sum of what follows, length of the JSON


def pack(facts: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> bytes:
    """Return ``facts`` (fit for JSON) and ``arrays`` (flat, of 4 or 8 bytes an item) as bytes.

    Neighbours differ by about as much as the pair before: differences, with equal places of all numbers
    brought together, compress to a few bits a number. They are taken of the bits, so that nothing is rounded.
    """
    parts, shapes = [], []
    for name, array in arrays.items():
        flat = np.ascontiguousarray(array)
        bits = flat.view(f"<u{flat.itemsize}")
        steps = np.diff(bits, prepend=bits.dtype.type(0))
        parts.append(steps.view(np.uint8).reshape(-1, flat.itemsize).T.tobytes())
        shapes.append([name, flat.dtype.newbyteorder("<").str, len(flat)])
    text = json.dumps([dict(facts), shapes], separators=(",", ":")).encode()
    body = zlib.compress(text + b"".join(parts), 9)
    return _HEAD.pack(zlib.crc32(body), len(text)) + body


def unpack(data: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return what ``pack`` was given; raises ``ValueError`` if the check sum is wrong."""
    if len(data) < _HEAD.size:
        raise ValueError(f"expected {_HEAD.size} bytes or more, got {len(data)}")
    check, length = _HEAD.unpack_from(data)
    body = memoryview(data)[_HEAD.size :]
    if zlib.crc32(body) != check:
        raise ValueError("its checksum is wrong")
    plain = zlib.decompress(body)
    facts, shapes = json.loads(plain[:length])
    arrays, at = {}, length
    for name, kind, count in shapes:
        dtype = np.dtype(kind)
        size = dtype.itemsize * count
        places = np.frombuffer(plain, np.uint8, size, at).reshape(dtype.itemsize, count)
        steps = np.ascontiguousarray(places.T).view(f"<u{dtype.itemsize}").ravel()
        arrays[name] = np.cumsum(steps, dtype=steps.dtype).view(dtype)
        at += size
    return facts, arrays
