"""Hostile safetensors files: lies in the header, and whole files with numbers that no model has."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from tests.hostile.changes import deep, pickled, torch_pickled


def header(entries: dict[str, Any], data: bytes = b"", length: int | None = None) -> bytes:
    """Return a safetensors file of this header, true or not."""
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(shape: list[Any], offsets: list[int], dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def more_tensors(path: Path) -> None:
    """Rewrite a safetensors file with a tensor that no model has."""

    save_file({**load_file(path), "encoder.extra": torch.zeros(3)}, path)


def tensors_as(dtype: torch.dtype) -> Callable[[Path], None]:
    """Return what rewrites a safetensors file with numbers of another kind."""

    return lambda path: save_file({name: x.to(dtype) for name, x in load_file(path).items()}, path)


def one_number(value: float) -> Callable[[Path], None]:
    """Return what rewrites a safetensors file with one number replaced."""

    def change(path: Path) -> None:
        tensors = load_file(path)
        next(x for x in tensors.values() if x.is_floating_point()).view(-1)[-1] = value
        save_file(tensors, path)

    return change


# of a good file, in which only the numbers are others
NUMBERS: dict[str, Callable[[Path], None]] = {
    "a number that is none": one_number(float("nan")),
    "an infinite number": one_number(float("inf")),
    "complex numbers": tensors_as(torch.complex64),
    "numbers of 8 bits without their scales": tensors_as(torch.float8_e4m3fn),
    "whole numbers": tensors_as(torch.int64),
    "truth values": tensors_as(torch.bool),
}


TENSOR_FILES: dict[str, bytes | Callable[[], bytes]] = {
    "is a pickle": pickled,
    "is a file of torch": torch_pickled,
    "is empty": b"",
    "header of 2**60 bytes": header({}, length=1 << 60),
    "header of 2**63 bytes": header({}, length=1 << 63),
    "header of blanks": struct.pack("<Q", (8 << 20) + 2) + b"{" + b" " * (8 << 20) + b"}",
    "a name twice": struct.pack("<Q", 2 * 53 + 1)
    + b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'
    + b',"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    + b"\0" * 4,
    "fifty thousand tensors": header({f"encoder.{i}": entry([0], [0, 0]) for i in range(50_000)}),
    "a tensor of a hundred thousand axes": header({"a": entry([1] * 100_000, [0, 4])}, b"\0" * 4),
    "a name of a megabyte": header({"a" * (1 << 20): entry([1], [0, 4])}, b"\0" * 4),
    "a name that clears the terminal": header({"\x1b[2J\nall is well": entry([1], [0, 4])}, b"\0" * 4),
    "a program behind the tensors": header({"a": entry([1], [0, 4])}, b"\0" * 4 + b"#!/bin/sh"),
    "a hole between tensors": header({"a": entry([1], [0, 4]), "b": entry([1], [8, 12])}, b"\0" * 12),
    "metadata of another kind": header({"__metadata__": {"a": {"b": "c"}}}),
    "header longer than the file": header({}, length=1 << 20),
    "header is no JSON": struct.pack("<Q", 8) + b"{'a': 1}",
    "header nested too deep": struct.pack("<Q", 200_000) + deep("[", "]"),
    "tensor beyond the end": header({"a": entry([1 << 20], [0, 4 << 20])}, b"\0" * 16),
    "tensor of terabytes in 16 bytes": header({"a": entry([1 << 40], [0, 16])}, b"\0" * 16),
    "size that overflows": header({"a": entry([1 << 32, 1 << 32, 16], [0, 0])}),
    "tensors that overlap": header({"a": entry([4], [0, 16]), "b": entry([4], [8, 24])}, b"\0" * 24),
    "negative size": header({"a": entry([-4], [0, 16])}, b"\0" * 16),
    "size that is no number": header({"a": entry([float("nan")], [0, 16])}, b"\0" * 16),
    "unknown dtype": header({"a": entry([4], [0, 16], "PICKLE")}, b"\0" * 16),
    "no tensors of the model": header({"a": entry([4], [0, 16])}, b"\0" * 16),
}
