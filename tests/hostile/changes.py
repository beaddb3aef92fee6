"""What leaves a marker if it runs, and the ways in which a copy of a good folder is changed.

Checkpoints are signed again after they were changed: whoever makes one can make its sums as well.
"""

import io
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import yaml

from worldjepa.artifact import _sha256

Change = Callable[[Path], None]


class Marker:
    """Pickled, it creates a file where it is unpickled."""

    def __reduce__(self):
        return leave_marker, ()


def pickled() -> bytes:
    return pickle.dumps({"encoder": Marker(), "model": Marker()})


def torch_pickled() -> bytes:
    file = io.BytesIO()
    torch.save({"encoder": {"weight": torch.zeros(2)}, "target_encoder": Marker()}, file)
    return file.getvalue()


def sign(folder: Path) -> None:
    """Write a manifest of what is in a checkpoint folder now."""
    files = [file for file in folder.iterdir() if file.name != "manifest.json"]
    entries = {file.name: {"sha256": _sha256(file), "bytes": file.stat().st_size} for file in files}
    (folder / "manifest.json").write_text(json.dumps({"format": 1, "files": entries}))


def describe(folder: Path) -> None:
    """Write the sum of a published model's weights as they are now."""
    path = folder / "model.safetensors"
    for name, value in (("sha256", _sha256(path)), ("bytes", path.stat().st_size)):
        with_setting("config.json", f"weights.{name}", value)(folder)


# --- ways to change a file -----------------------------------------------------------------------


def with_bytes(name: str, content: Callable[[], bytes] | bytes) -> Change:
    return lambda folder: void(
        (folder / name).write_bytes(content if isinstance(content, bytes) else content())
    )


def with_setting(name: str, place: str, value: Any) -> Change:
    """Set a dotted place of a JSON or YAML file."""

    def change(folder: Path) -> None:
        path = folder / name
        loads, dumps = (
            (yaml.safe_load, yaml.safe_dump) if path.suffix == ".yaml" else (json.loads, json.dumps)
        )
        data = loads(path.read_text())
        *outer, last = place.split(".")
        inner = data
        for part in outer:
            inner = inner.setdefault(part, {})
        inner[last] = value
        path.write_text(dumps(data))

    return change


def with_link(name: str, target: str) -> Change:
    def change(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(target)

    return change


def with_pipe(name: str) -> Change:
    """Put a pipe that nobody writes to in a file's place: reading it would wait for ever."""

    def change(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        os.mkfifo(folder / name)

    return change


def both(*changes: Change) -> Change:
    return lambda folder: void([change(folder) for change in changes])


def void(_: object) -> None:
    return None


TARGET = {"_target_": "tests.hostile.changes.leave_marker"}


def leave_marker() -> None:
    """Do what no file may bring about."""
    Path(os.environ["WORLDJEPA_MARKER"]).touch()


def with_module(name: str) -> Change:
    """Add a module of Python to a folder, which leaves the marker if it is imported."""
    return with_bytes(name, b"import os, pathlib\npathlib.Path(os.environ['WORLDJEPA_MARKER']).touch()\n")


def of_weights(change: Callable[[Path], None]) -> Change:
    return lambda folder: change(folder / "model.safetensors")


def deep(open_: str, close: str, levels: int = 100_000) -> bytes:
    return (open_ * levels + close * levels).encode()
