"""Tensors in a safetensors file: written apart from each other, looked at before they are read."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

LONGEST_HEADER = 16 << 20  # bytes; of a model of a hundred thousand tensors


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
    try:
        save_file(plain, path)
    except SafetensorError as error:
        code = re.search(r"\(os error (\d+)\)", str(error))  # it hides the errno in its text
        if code is None:
            raise
        raise OSError(int(code[1]), os.strerror(int(code[1]))) from error


def read_outline(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file by name and shape only, without memory (``meta``).

    Raises:
        TensorFileError: it is no safetensors file, or its header does not fit its length.
    """
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
        if length > LONGEST_HEADER:
            raise TensorFileError(
                f"{path} is no safetensors file: its header would be {length} bytes long, and "
                f"{LONGEST_HEADER} are the most that is read"
            )
        with safe_open(path, framework="pt") as file:
            shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise TensorFileError(f"{path} is no safetensors file, or a damaged one: {error}") from error
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file, on the CPU; the error is that of ``read_outline``.

    Raises:
        TensorFileError: also for numbers that no model of ours has, such as complex ones.
    """
    read_outline(path)
    tensors = load_file(path)
    odd = [name for name, tensor in tensors.items() if tensor.is_complex()]
    if odd:
        raise TensorFileError(f"{path}: {odd[0]} is of {tensors[odd[0]].dtype}, which no model here has")
    return tensors
