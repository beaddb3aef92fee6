"""Folders that an attacker might publish: each a function of a good folder's copy."""

import json
from pathlib import Path
from typing import Any

from tests.hostile.changes import (
    TARGET,
    Change,
    both,
    deep,
    describe,
    of_weights,
    pickled,
    sign,
    torch_pickled,
    with_bytes,
    with_link,
    with_pipe,
    with_setting,
)
from tests.hostile.tensor_files import NUMBERS, TENSOR_FILES, more_tensors


def bomb() -> bytes:
    """Return YAML of a kilobyte that is ten thousand million words long once its aliases are followed."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]
    return ("\n".join(lines) + "\nmasking: *a9\n").encode()


SETTINGS_YAML: dict[str, bytes] = {
    "python tag": b"seed: !!python/object/apply:tests.hostile.changes.leave_marker []\n",
    "bomb of aliases": bomb(),
    "nested too deep": b"a: " + deep("[", "]", 20_000),
    "six megabytes": b"a: " + b"x" * (6 << 20),
    "key twice": b"seed: 0\nseed: 1\n",
    "a list": b"- seed\n",
    "bytes that are no text": b"seed: \xff\xfe\n",
    "text that clears the terminal": b'seed: "\\e[2J"\n',
    "key that clears the terminal": b'"\\e[2J": 0\n',
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
    "code of its own": ("trust_remote_code", True),
}
JSON_FILES: dict[str, bytes] = {
    "nested too deep": deep("[", "]"),
    "six megabytes": b'{"a": "' + b"x" * (6 << 20) + b'"}',
    "number of a million digits": b'{"step": ' + b"9" * (1 << 20) + b"}",
    "a list": b"[1]",
    "key twice": b'{"step": 6, "step": 7, "record": {}, "versions": {}}',
    "a hundred levels": deep('{"a":', "}", 100).replace(b":}", b":0}"),
    "a word of a megabyte": b'{"step": "' + b"x" * (1 << 20) + b'"}',
    "text that clears the terminal": b'{"step": "\\u001b[2J"}',
    "key that clears the terminal": b'{"\\u001b[2J": 6}',
}
REMOTE_CODE: dict[str, Any] = {
    "auto_map": {"AutoModel": "modeling_evil.Marker"},
    "trust_remote_code": True,
    "custom_pipelines": {"evil": {"impl": "modeling_evil.Marker"}},
}


def checkpoint_payloads() -> dict[str, Change]:
    found: dict[str, Change] = {}
    for what, content in TENSOR_FILES.items():
        found[f"weights: {what}"] = both(with_bytes("model.safetensors", content), sign)
    for what, change in NUMBERS.items():
        found[f"weights: {what}"] = both(of_weights(change), sign)
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
        "weights: one tensor more": both(lambda folder: more_tensors(folder / "model.safetensors"), sign),
        "folder: a pickle more": both(with_bytes("hooks.pkl", pickled), sign),
        "folder: a module more": both(with_bytes("encoder.py", b"raise SystemExit"), sign),
        "folder: a file without its sum": with_bytes("more.json", b"{}"),
        "folder: another's sum": with_bytes("config.yaml", b"seed: 1\n"),
        "folder: a link for weights": with_link("model.safetensors", "/etc/hostname"),
        "folder: a pipe for settings": with_pipe("config.yaml"),
        "folder: a pipe for weights": with_pipe("model.safetensors"),
        "manifest: a path out of the folder": with_setting(
            "manifest.json", "files", {"../../config.yaml": {"sha256": "0" * 64, "bytes": 1}}
        ),
        "manifest: an absolute path": with_setting(
            "manifest.json", "files", {"/etc/hostname": {"sha256": "0" * 64, "bytes": 1}}
        ),
    }
    return found


HEAD = {"kind": "scalar", "latent_dim": 12, "num_tokens": 4, "hidden_dim": 8}


def nested(levels: int) -> dict[str, Any]:
    part: dict[str, Any] = {}
    for _ in range(levels):
        part = {"kind": "frozen_encoder", "pool": "none", "backbone": part}
    return part


def published_payloads() -> dict[str, Change]:
    found: dict[str, Change] = {}
    for what, content in TENSOR_FILES.items():
        found[f"weights: {what}"] = with_bytes("model.safetensors", content)
    for what, content in JSON_FILES.items():
        found[f"description: {what}"] = with_bytes("config.json", content)
    for what, change in NUMBERS.items():
        found[f"weights: {what}"] = both(of_weights(change), describe)
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
        "metrics that are no numbers": ("facts.metrics", {"loss": ["x"]}),
        "layers below none": ("model.encoder.depth", -1),
        "layers of truth": ("model.encoder.depth", True),
        "frames without pixels": ("model.image_size", 0),
        "a layer of endless width": ("model.encoder.mlp_ratio", float("inf")),
        "parts within parts": ("model.encoder", nested(300)),
        "ten thousand heads": ("model.heads", {f"h{i}": HEAD for i in range(10_000)}),
        "a head that is a method": ("model.heads", {"keys": HEAD}),
        "a head with a path for a name": ("model.heads", {"../evil": HEAD}),
        "code of its own": ("auto_map", REMOTE_CODE["auto_map"]),
        "an argument that clears the terminal": ("model.\x1b[2J", 1),
        "format of tomorrow": ("format", 2),
    }.items():  # fmt: skip
        found[f"description: {what}"] = with_setting("config.json", place, value)
    found |= {
        "folder: a link for weights": with_link("model.safetensors", "/etc/hostname"),
        "folder: a link for the description": with_link("config.json", "/etc/hostname"),
        "folder: a link up": with_link("config.json", "../../config.json"),
        "folder: a pipe for the description": with_pipe("config.json"),
        "folder: a pipe for the weights": with_pipe("model.safetensors"),
        "folder: a link to itself": with_link("model.safetensors", "model.safetensors"),
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
        "shards: a link out of the folder": both(
            shards({"encoder.norm.weight": "s.safetensors"}),
            with_link("s.safetensors", "../outside.safetensors"),
        ),
        "shards: fifty thousand": shards({f"a{i}": f"s{i}.safetensors" for i in range(50_000)}),
        "settings: heads of truth": with_setting("config.json", "num_attention_heads", True),
        "settings: a timm model fetched by name": with_bytes(
            "config.json", b'{"architecture": "hf-hub:attacker/code"}'
        ),
        "settings: a timm model of a folder": with_bytes(
            "config.json", b'{"architecture": "local-dir:/etc"}'
        ),
        "pixels: a list": with_bytes("video_preprocessor_config.json", b"[1]"),
        "pixels: means without end": with_setting(
            "video_preprocessor_config.json", "image_mean", [0.5] * 100_000
        ),
        "pixels: a deviation next to nothing": with_setting(
            "video_preprocessor_config.json", "image_std", [1e-320] * 3
        ),
        "pixels: a pipe": with_pipe("video_preprocessor_config.json"),
        "folder: a link for weights": with_link("model.safetensors", "/etc/hostname"),
        "folder: a link to itself": with_link("model.safetensors", "model.safetensors"),
        "folder: a pipe for the settings": with_pipe("config.json"),
        "folder: a pipe for the weights": with_pipe("model.safetensors"),
    }
    return found | {f"weights: {what}": of_weights(change) for what, change in NUMBERS.items()}
