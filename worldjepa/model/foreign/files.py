"""Weights in files of others: tensors and plain values only, nothing that could run.

``.pt`` files are zip archives of a pickle and raw storages (torch from 1.6 on): torch's restricted reader
(``weights_only=True``) takes tensors and plain containers and refuses all else. What it returns is checked
again: names that no tensor has, and tensors that claim more than the file holds (by strides of 0, or many
views of one storage), are refused before anything is computed with them.
"""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from worldjepa.model.foreign.contents import ForeignError
from worldjepa.plain_data import read_json
from worldjepa.tensorfile import DTYPES, MOST_TENSORS, check_names, read_tensors

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
        if not (path / SINGLE).is_file():
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
        with warnings.catch_warnings(action="ignore"):  # of kinds of tensors that are refused below
            found = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except _MALFORMED as error:
        raise ForeignError(
            f"{path} cannot be read: {_reason(error)}; files of torch are read only if they hold nothing but "
            "tensors and plain values (weights_only=True)"
        ) from error
    if not isinstance(found, dict):
        raise ForeignError(f"{path} holds a {type(found).__name__}; expected a mapping to weights")
    _check_contents(found, path)
    return found


def _check_archive(path: Path) -> None:
    """Refuse what is no archive as torch writes it: there, nothing is compressed and so nothing can grow."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            packed = any(info.compress_type != zipfile.ZIP_STORED for info in entries)
    except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError) as error:
        raise ForeignError(f"{path} is no archive as torch has written them since 1.6: {error}") from error
    if packed:
        raise ForeignError(f"{path} is a compressed archive, which torch does not write")
    if len(entries) > 2 * MOST_TENSORS:
        raise ForeignError(f"{path} is an archive of {len(entries)} files; no weights have so many")


def _check_contents(found: Any, path: Path) -> None:
    """Refuse tensors that are no plain ones of numbers, names, and sizes that no file of weights has.

    Each thing is looked at once: lists that hold each other twice would grow without end.
    """
    claimed, seen, left = 0, set(), [found]
    while left:
        one = left.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, Tensor):
            claimed += one.numel() * one.element_size()
            if one.layout != torch.strided or one.device.type != "cpu" or one.dtype not in DTYPES.values():
                raise ForeignError(f"{path} holds a tensor that is not a plain one")
        elif isinstance(one, Mapping):
            check_names([name for name in one if isinstance(name, str)], path)
            left.extend(one.values())
        elif isinstance(one, list | tuple):
            left.extend(one)
    if claimed > 4 * path.stat().st_size:  # some share storage
        raise ForeignError(f"{path} claims tensors of {claimed} bytes and has {path.stat().st_size}")


def _reason(error: Exception) -> str:
    """Return what torch has against a file, without its advice to read it nevertheless."""
    text = " ".join(str(error).split())
    _, _, refused = text.partition("WeightsUnpickler error: ")
    text = (refused or text).partition(" Check the documentation")[0]
    return text[:160] or type(error).__name__
