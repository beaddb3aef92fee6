"""Folders and files that an attacker might publish, made from good ones; each would leave a marker if it ran.

A payload is a function of a good folder's copy. Checkpoints are signed again after they were changed: whoever
makes one can make its sums as well.
"""

import io
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import save_file

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


TARGET = {"_target_": "tests.hostile.payloads.leave_marker"}


def leave_marker() -> None:
    """Do what no file may bring about."""
    Path(os.environ["WORLDJEPA_MARKER"]).touch()


# --- contents ------------------------------------------------------------------------------------


def deep(open_: str, close: str, levels: int = 100_000) -> bytes:
    return (open_ * levels + close * levels).encode()


def bomb() -> bytes:
    """Return YAML of a kilobyte that is ten thousand million words long once its aliases are followed."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]
    return ("\n".join(lines) + "\nmasking: *a9\n").encode()


def header(entries: dict[str, Any], data: bytes = b"", length: int | None = None) -> bytes:
    """Return a safetensors file of this header, true or not."""
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(shape: list[Any], offsets: list[int], dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def more_tensors(path: Path) -> None:
    """Rewrite a safetensors file with a tensor that no model has."""
    from safetensors.torch import load_file

    save_file({**load_file(path), "encoder.extra": torch.zeros(3)}, path)


def complex_tensors(path: Path) -> None:
    from safetensors.torch import load_file

    save_file({name: x.to(torch.complex64) for name, x in load_file(path).items()}, path)


TENSOR_FILES: dict[str, bytes | Callable[[], bytes]] = {
    "is a pickle": pickled,
    "is a file of torch": torch_pickled,
    "is empty": b"",
    "header of 2**60 bytes": header({}, length=1 << 60),
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

SETTINGS_YAML: dict[str, bytes] = {
    "python tag": b"seed: !!python/object/apply:tests.hostile.payloads.leave_marker []\n",
    "bomb of aliases": bomb(),
    "nested too deep": b"a: " + deep("[", "]", 20_000),
    "six megabytes": b"a: " + b"x" * (6 << 20),
    "key twice": b"seed: 0\nseed: 1\n",
    "a list": b"- seed\n",
    "bytes that are no text": b"seed: \xff\xfe\n",
}
SETTINGS_PLACES: dict[str, tuple[str, Any]] = {
    "_target_ of the model": ("model._target_", TARGET["_target_"]),
    "_target_ of the encoder": ("model.encoder._target_", TARGET["_target_"]),
    "_target_ at the top": ("_target_", TARGET["_target_"]),
    "width that is no number": ("model.encoder.dim", float("nan")),
    "depth without end": ("model.encoder.depth", 10**9),
    "model of terabytes": ("model.encoder.dim", 24 * 10**6),
    "head of terabytes": ("data.size", 8192),
    "frames of terabytes": ("data.size", 8 * 10**9),
    "actions of terabytes": ("model.action_dim", 10**13),
    "backbone fetched by name": ("model.frozen", "timm/hf-hub:attacker/code"),
}
JSON_FILES: dict[str, bytes] = {
    "nested too deep": deep("[", "]"),
    "six megabytes": b'{"a": "' + b"x" * (6 << 20) + b'"}',
    "number of a million digits": b'{"step": ' + b"9" * (1 << 20) + b"}",
    "a list": b"[1]",
    "key twice": b'{"step": 6, "step": 7, "record": {}, "versions": {}}',
}


def checkpoint_payloads() -> dict[str, Change]:
    found: dict[str, Change] = {}
    for what, content in TENSOR_FILES.items():
        found[f"weights: {what}"] = both(with_bytes("model.safetensors", content), sign)
    for what, content in SETTINGS_YAML.items():
        found[f"settings: {what}"] = both(with_bytes("config.yaml", content), sign)
    for what, (place, value) in SETTINGS_PLACES.items():
        found[f"settings: {what}"] = both(with_setting("config.yaml", place, value), sign)
    for what, content in JSON_FILES.items():
        found[f"state: {what}"] = both(with_bytes("train_state.json", content), sign)
        found[f"manifest: {what}"] = with_bytes("manifest.json", content)
    found |= {
        "state: step that is no number": both(with_setting("train_state.json", "step", float("nan")), sign),
        "state: a record of another kind": both(
            with_setting("train_state.json", "record", {"evil": 1}), sign
        ),
        "weights: complex numbers": both(lambda folder: complex_tensors(folder / "model.safetensors"), sign),
        "weights: one tensor more": both(lambda folder: more_tensors(folder / "model.safetensors"), sign),
        "folder: a pickle more": both(with_bytes("hooks.pkl", pickled), sign),
        "folder: a module more": both(with_bytes("encoder.py", b"raise SystemExit"), sign),
        "folder: a file without its sum": with_bytes("more.json", b"{}"),
        "folder: another's sum": with_bytes("config.yaml", b"seed: 1\n"),
        "folder: a link for weights": with_link("model.safetensors", "/etc/hostname"),
        "folder: a pipe for settings": with_pipe("config.yaml"),
        "manifest: a path out of the folder": with_setting(
            "manifest.json", "files", {"../../config.yaml": {"sha256": "0" * 64, "bytes": 1}}
        ),
        "manifest: an absolute path": with_setting(
            "manifest.json", "files", {"/etc/hostname": {"sha256": "0" * 64, "bytes": 1}}
        ),
    }
    return found


def published_payloads() -> dict[str, Change]:
    found: dict[str, Change] = {}
    for what, content in TENSOR_FILES.items():
        found[f"weights: {what}"] = with_bytes("model.safetensors", content)
    for what, content in JSON_FILES.items():
        found[f"description: {what}"] = with_bytes("config.json", content)
    big = 1 << 20
    for what, (place, value) in {
        "_target_": ("model._target_", TARGET["_target_"]),
        "_target_ of a part": ("model.encoder._target_", TARGET["_target_"]),
        "class of another module": ("model.encoder.kind", "pathlib.Path"),
        "width that is no number": ("model.encoder.dim", float("nan")),
        "depth without end": ("model.encoder.depth", 10**9),
        "model of terabytes": ("model.encoder.dim", big),
        "tables of gigabytes": ("model.predictor.grid", [4096, 4096]),
        "head of terabytes": ("model.heads.evil", {"kind": "vector", "latent_dim": big, "num_tokens": big,
                                                   "out_dim": big, "hidden_dim": big}),
        "backbone fetched by name": ("model.encoder", {"kind": "timm", "name": "hf-hub:a/b", "image_size": 16,
                                                       "pretrained": True}),
        "weights' length that is no number": ("weights.bytes", {"a": 1}),
        "another's sum": ("weights.sha256", "0" * 64),
        "facts that are no mapping": ("facts", ["x"]),
        "format of tomorrow": ("format", 2),
    }.items():  # fmt: skip
        found[f"description: {what}"] = with_setting("config.json", place, value)
    found |= {
        "folder: a link for weights": with_link("model.safetensors", "/etc/hostname"),
        "folder: a link for the description": with_link("config.json", "/etc/hostname"),
        "folder: a link up": with_link("config.json", "../../config.json"),
        "folder: a pipe for the description": with_pipe("config.json"),
        "folder: pickled weights only": both(
            with_bytes("pytorch_model.bin", torch_pickled),
            lambda folder: (folder / "model.safetensors").unlink(),
        ),
    }
    return found


def foreign_payloads() -> dict[str, Change]:
    """Return changes of a folder in transformers' format."""
    index = "model.safetensors.index.json"

    def shards(names: Any) -> Change:
        def change(folder: Path) -> None:
            (folder / "model.safetensors").rename(folder.parent / "outside.safetensors")
            (folder / index).write_text(json.dumps({"weight_map": names}))

        return change

    found = {
        f"weights: {what}": with_bytes("model.safetensors", content) for what, content in TENSOR_FILES.items()
    }
    found |= {f"settings: {what}": with_bytes("config.json", content) for what, content in JSON_FILES.items()}
    found |= {
        "settings: model of terabytes": with_setting("config.json", "hidden_size", 1 << 40),
        "settings: another architecture": with_setting("config.json", "model_type", "pickle"),
        "settings: heads that are no number": with_setting(
            "config.json", "num_attention_heads", float("nan")
        ),
        "settings: frames of terabytes": with_setting("config.json", "crop_size", 1 << 40),
        "shards: a path out of the folder": shards({"encoder.norm.weight": "../outside.safetensors"}),
        "shards: an absolute path": shards({"encoder.norm.weight": "/etc/hostname"}),
        "shards: no mapping": shards(["a"]),
        "folder: a link for weights": with_link("model.safetensors", "/etc/hostname"),
        "folder: a pipe for the settings": with_pipe("config.json"),
    }
    return found


def torch_files() -> dict[str, Callable[[Path], None]]:
    """Return writers of ``.pt`` files for ``python -m worldjepa.convert``."""

    def spread(path: Path) -> None:
        one = torch.zeros(1)
        torch.save({"encoder": {"module.backbone.pos_embed": one.expand(1 << 40)}}, path)

    def climbing(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("../../../escaped.txt", "x")
            archive.writestr("archive/data.pkl", pickled())

    return {
        "a pickle": lambda path: void(path.write_bytes(pickled())),
        "a pickle in an archive": lambda path: void(path.write_bytes(torch_pickled())),
        "one number spread over terabytes": spread,
        "an archive that climbs": climbing,
        "empty": lambda path: void(path.write_bytes(b"")),
        "half a file": lambda path: void(path.write_bytes(torch_pickled()[:300])),
        "a list": lambda path: torch.save([torch.zeros(2)], path),
        "numbers for names": lambda path: torch.save({"encoder": {1: torch.zeros(2)}}, path),
    }
