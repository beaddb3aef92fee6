"""Weights in files of others: tensors and plain values only, nothing that could run.

``.pt`` files are zip archives of a pickle and raw storages (torch from 1.6 on): torch's restricted reader
(``weights_only=True``) takes tensors and plain containers and refuses all else. What it returns is checked
again: tensors that claim more than the file holds (by strides of 0, or many views of one storage) are refused
before anything is computed with them.
"""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from worldjepa.model.foreign.contents import ForeignError
from worldjepa.plain_data import read_json
from worldjepa.tensorfile import read_tensors

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
_SHARD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\.safetensors")
_MALFORMED = (  # what torch raises of damaged or hostile files, by trial
    pickle.UnpicklingError,
    RuntimeError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    EOFError,
    OSError,
    OverflowError,
)


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a folder with published weights, whole or in shards.

    Raises:
        ForeignError: no weights, an index that leads out of the folder or does not agree with the shards.
        ValueError: a damaged file (``tensorfile.py``, ``plain_data.py``).
    """
    if not (path / INDEX).exists():
        if not (path / SINGLE).exists():
            raise ForeignError(f"{path} holds no {SINGLE} and no {INDEX}; expected published weights")
        return read_tensors(path / SINGLE)
    index = read_json((path / INDEX).resolve())  # the hub's cache holds links
    places = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(places, dict):
        raise ForeignError(f"{path / INDEX} has no weight_map")
    shards = {str(shard) for shard in places.values()}
    for shard in sorted(shards):
        if not _SHARD.fullmatch(shard):
            raise ForeignError(f"{path / INDEX} names {shard!r}; expected a .safetensors file beside it")
    found: dict[str, Tensor] = {}
    for shard in sorted(shards):
        if not (path / shard).is_file():
            raise ForeignError(f"{path / shard} is missing; {INDEX} names it")
        tensors = read_tensors(path / shard)
        stray = [name for name in tensors if places.get(name) != shard]
        if stray:
            raise ForeignError(f"{path / shard} holds {stray[0]}, which the index does not place there")
        found |= tensors
    lacking = [name for name in places if name not in found]
    if lacking:
        raise ForeignError(f"{path}: {lacking[0]} is in the index and in none of the shards")
    return found


def read_torch_file(path: Path) -> dict[str, Any]:
    """Return the mapping in a ``.pt`` file, of tensors and plain values.

    Raises:
        ForeignError: anything else in it, damage, or tensors larger than the file.
    """
    _check_archive(path)
    try:
        found = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except _MALFORMED as error:
        first = str(error).strip().split("\n")[0]
        raise ForeignError(
            f"{path} cannot be read: {first}; files of torch are read only if they hold nothing but tensors "
            "and plain values (weights_only=True)"
        ) from error
    if not isinstance(found, dict):
        raise ForeignError(f"{path} holds a {type(found).__name__}; expected a mapping to weights")
    claimed = 0
    for tensor in _tensors(found):
        claimed += tensor.numel() * tensor.element_size()
        if tensor.layout != torch.strided or tensor.device.type != "cpu":
            raise ForeignError(f"{path} holds a tensor that is not a plain one")
    if claimed > 4 * path.stat().st_size:  # some share storage
        raise ForeignError(f"{path} claims tensors of {claimed} bytes and has {path.stat().st_size}")
    return found


def _check_archive(path: Path) -> None:
    """Refuse what is no archive as torch writes it: there, nothing is compressed and so nothing can grow."""
    try:
        with zipfile.ZipFile(path) as archive:
            packed = any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist())
    except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError) as error:
        raise ForeignError(f"{path} is no archive as torch has written them since 1.6: {error}") from error
    if packed:
        raise ForeignError(f"{path} is a compressed archive, which torch does not write")


def _tensors(found: Any, depth: int = 0) -> Iterator[Tensor]:
    if isinstance(found, Tensor):
        yield found
    elif depth < 32 and isinstance(found, Mapping | list | tuple):
        for inner in found.values() if isinstance(found, Mapping) else found:
            yield from _tensors(inner, depth + 1)
