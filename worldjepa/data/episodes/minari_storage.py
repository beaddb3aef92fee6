"""How the episodes of a Minari dataset lie: one HDF5 file, or a folder of arrow or parquet files each.

Facts from Farama-Foundation/Minari, ``minari/dataset/_storages``: HDF5 has a group ``episode_<i>`` with
``observations`` (a dataset, or groups by key), ``actions``, ``rewards``, ``terminations``. Arrow and parquet
have columns of the same names, observations a struct, and a row more than steps for the last observation.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds

MAX_KNOWN = 16  # arrow episodes kept in memory

Keys = tuple[str, ...]


@runtime_checkable
class EpisodeContent(Protocol):
    """One episode, open to be read; ``keys`` lead to an array, as ("observations", "pixels")."""

    def rows(self, keys: Keys, start: int, stop: int) -> np.ndarray:
        """Return rows ``start`` to ``stop - 1`` of an array of numbers."""
        ...

    def item(self, keys: Keys, i: int) -> np.ndarray | bytes:
        """Return row ``i``: numbers, or the bytes of an encoded image."""
        ...


@runtime_checkable
class Storage(Protocol):
    """All episodes."""

    def survey(self, count: int) -> list[tuple[int, int | None]]:
        """Return (steps, seed) of the episodes 0 to ``count - 1``."""
        ...

    def episode(self, i: int) -> Any:
        """Return a context with the ``EpisodeContent`` of episode ``i``."""
        ...


def open_storage(folder: Path, data_format: str) -> Storage:
    """Return the storage in a dataset's ``data`` folder; ``ValueError`` for an unknown format."""
    if data_format == "hdf5":
        return _Hdf5(folder / "main_data.hdf5")
    if data_format in ("arrow", "parquet"):
        return _Arrow(folder, data_format)
    raise ValueError(f"{folder} has data_format={data_format!r}; expected hdf5, arrow or parquet")


class _Hdf5:
    """The file is opened for each read: an open one must not be shared with workers."""

    def __init__(self, path: Path):
        self._path = path

    def survey(self, count: int) -> list[tuple[int, int | None]]:
        with self._open() as file:
            attributes = [file[f"episode_{i}"].attrs for i in range(count)]
            return [(int(a["total_steps"]), _seed(a.get("seed"))) for a in attributes]

    @contextmanager
    def episode(self, i: int) -> Iterator[EpisodeContent]:
        with self._open() as file:
            yield _Hdf5Episode(file[f"episode_{i}"])

    @contextmanager
    def _open(self) -> Iterator[Any]:
        try:
            import h5py
        except ImportError as error:
            raise ImportError("Minari datasets in HDF5 need h5py: pip install 'worldjepa[minari]'") from error
        try:
            with h5py.File(self._path, "r") as file:
                yield file
        except (OSError, KeyError) as error:
            raise ValueError(f"{self._path} cannot be read as Minari wrote it ({error})") from error


class _Hdf5Episode:
    def __init__(self, group: Any):
        self._group = group

    def rows(self, keys: Keys, start: int, stop: int) -> np.ndarray:
        return self._group["/".join(keys)][start:stop]

    def item(self, keys: Keys, i: int) -> np.ndarray | bytes:
        row = self._group["/".join(keys)][i]
        return row.tobytes() if row.ndim == 1 else row


class _Arrow:
    """A folder an episode; the tables read last stay in memory."""

    def __init__(self, folder: Path, data_format: str):
        self._folder, self._format = folder, data_format
        self._known: OrderedDict[int, dict[str, pa.Array]] = OrderedDict()

    def __getstate__(self):
        return vars(self) | {"_known": OrderedDict()}

    def survey(self, count: int) -> list[tuple[int, int | None]]:
        found = []
        for i in range(count):
            path = self._folder / str(i) / "metadata.json"
            try:
                values = json.loads(path.read_text(encoding="utf-8"))
                found.append((int(values["total_steps"]), _seed(values.get("seed"))))
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise ValueError(f"{path} cannot be read as Minari wrote it ({error!r})") from error
        return found

    @contextmanager
    def episode(self, i: int) -> Iterator[EpisodeContent]:
        if i not in self._known:
            self._known[i] = self._read(self._folder / str(i))
            if len(self._known) > MAX_KNOWN:
                self._known.popitem(last=False)
        try:
            yield _ArrowEpisode(self._known[i])
        except KeyError as error:
            raise ValueError(f"{self._folder / str(i)} lacks {error}, which its spaces promise") from error

    def _read(self, folder: Path) -> dict[str, pa.Array]:
        try:
            files = ds.dataset(folder, format=self._format, ignore_prefixes=["_", ".", "metadata.json"])
            table = files.to_table().combine_chunks()
        except (OSError, pa.ArrowException) as error:
            raise ValueError(f"{folder} cannot be read as Minari wrote it ({error})") from error
        return {name: table[name].chunk(0) for name in table.column_names}


class _ArrowEpisode:
    def __init__(self, columns: dict[str, pa.Array]):
        self._columns = columns

    def rows(self, keys: Keys, start: int, stop: int) -> np.ndarray:
        return _numbers(self._column(keys).slice(start, stop - start))

    def item(self, keys: Keys, i: int) -> np.ndarray | bytes:
        cell = self._column(keys).slice(i, 1)
        return cell[0].as_py() if pa.types.is_binary(cell.type) else _numbers(cell)[0]

    def _column(self, keys: Keys) -> pa.Array:
        column = self._columns[keys[0]]
        for key in keys[1:]:
            column = column.field(key)
        return column


def _numbers(column: pa.Array) -> np.ndarray:
    """Return plain numbers, or lists of fixed size as ``[rows numbers]``."""
    if pa.types.is_fixed_size_list(column.type):
        flat = column.flatten().to_numpy(zero_copy_only=False)
        return flat.reshape(len(column), column.type.list_size)
    return column.to_numpy(zero_copy_only=False)


def _seed(value: Any) -> int | None:
    return None if value is None else int(value)
