"""Tensors in a safetensors file: written apart from each other, looked at before they are read."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

LONGEST_HEADER = 16 << 20  # bytes
MOST_TENSORS = 20_000  # V-JEPA 2 ViT-g with both encoders and its predictor has about 1,100
LONGEST_NAME = 200
# as safetensors calls them; float8 would need the scales that are kept beside it
DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


class TensorFileError(ValueError):
    """A file does not hold tensors as it says."""


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a safetensors file; tensors that share memory are written apart.

    Raises:
        OSError: the disk is full, or cannot be written.
    """
    plain: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in tensors.items():
        tensor = tensor.detach().cpu().contiguous()
        storage = tensor.untyped_storage()
        partial = storage.nbytes() != tensor.nbytes
        plain[name] = tensor.clone() if partial or storage.data_ptr() in seen else tensor
        seen.add(storage.data_ptr())
    path.touch()
    mode = path.stat().st_mode  # safetensors puts a file in its place that nobody else may read
    try:
        save_file(plain, path)
        path.chmod(mode)
    except SafetensorError as error:
        code = re.search(r"\(os error (\d+)\)", str(error))  # it hides the errno in its text
        if code is None:
            raise
        raise OSError(int(code[1]), os.strerror(int(code[1]))) from error


def read_outline(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file by name, shape and dtype only, without memory (``meta``).

    Raises:
        TensorFileError: it is no safetensors file, its header does not fit its length, or it holds more
            tensors, names or numbers of another kind than any model here.
    """
    if not path.is_file():
        raise TensorFileError(f"{path} is no safetensors file, but a folder or a pipe")
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
        if length > LONGEST_HEADER:
            raise TensorFileError(
                f"{path} is no safetensors file: its header would be {length} bytes long, and "
                f"{LONGEST_HEADER} are the most that is read"
            )
        with safe_open(path, framework="pt") as file:
            names = check_names(file.keys(), path)
            slices = {name: file.get_slice(name) for name in names}
            said = {name: (part.get_shape(), part.get_dtype()) for name, part in slices.items()}
    except SafetensorError as error:
        raise TensorFileError(f"{path} is no safetensors file, or a damaged one: {error}") from error
    for name, (_, dtype) in said.items():
        if dtype not in DTYPES:
            raise TensorFileError(f"{path}: {name} is of {dtype}, which no model here has")
    return {
        name: torch.empty(shape, dtype=DTYPES[dtype], device="meta") for name, (shape, dtype) in said.items()
    }


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file, on the CPU; the error is that of ``read_outline``."""
    read_outline(path)
    return load_file(path)


def check_names(names: Sequence[str], source: Path) -> Sequence[str]:
    """Return the names of tensors; they are printed, so that they must be fit to be.

    Raises:
        TensorFileError: more than any model has, too long, or with characters that steer a terminal.
    """
    if len(names) > MOST_TENSORS:
        raise TensorFileError(
            f"{source} holds {len(names)} tensors, and {MOST_TENSORS} are the most that is read"
        )
    for name in names:
        if len(name) > LONGEST_NAME or not name.isprintable():
            raise TensorFileError(f"{source} holds the name {name[:40]!a}, which no tensor here has")
    return names
