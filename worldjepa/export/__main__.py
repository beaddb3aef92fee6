"""``python -m worldjepa.export run.dir=runs/two_rooms out=robot``: read the settings, then export."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from worldjepa.answering import answer
from worldjepa.settings.export import ExportConfig
from worldjepa.settings.overrides import read_flags, read_words
from worldjepa.settings.ranges import at_least, one_of
from worldjepa.settings.schema import ConfigError, from_dict

FORMATS = ("onnx", "transformers")
USAGE = """usage: python -m worldjepa.export run.dir=FOLDER out=FOLDER [name=value ...]

Writes a trained model for use elsewhere: encode and one cached step of the rollout as ONNX files and torch
programs, compared with the model, and model.json, which names inputs, outputs, shapes and units; or the
encoder as transformers' VJEPA2.

settings:
  run.dir=FOLDER               a run, a checkpoint, a published model, or hf:OWNER/NAME
  out=FOLDER                   where to write; it must not be there yet
  format=onnx|transformers     what to write
  num_frames=N                 frames of a clip (default: one latent step)
  history=N                    earlier latent steps that a step keeps (default: the predictor's window)

example:
  python -m worldjepa.export run.dir=runs/two_rooms out=robot history=8"""


def main(argv: Sequence[str] | None = None) -> int:
    """Export as the words of ``argv`` say and return the exit code: 2 for a mistake of the caller's."""
    return answer("export", argv, lambda: USAGE, _read, _export, shown=None)


def _read(argv: list[str]) -> ExportConfig:
    command, words = read_flags(argv)
    read_words(command, words, ExportConfig, {})
    return _checked(command.settings)


def _checked(settings: list[tuple[str, Any]]) -> ExportConfig:
    nested: dict[str, Any] = {}
    for name, value in settings:
        group, _, last = name.rpartition(".")
        (nested.setdefault(group, {}) if group else nested)[last] = value
    config = from_dict(nested, ExportConfig)
    one_of("format", config.format, FORMATS)
    at_least("num_frames", config.num_frames, 1)
    at_least("history", config.history, 0)
    for name, value, example in (("run.dir", config.run.dir, "runs/two_rooms"), ("out", config.out, "robot")):
        if value is None:
            raise ConfigError(f"{name} is not set; add it, such as {name}={example}")
    if config.format == "transformers" and (config.num_frames, config.history) != (None, None):
        raise ConfigError("num_frames and history are of format=onnx; leave them out")
    return config


def _export(config: ExportConfig) -> int:
    # torch comes in only now: a wrong word was answered at once
    from worldjepa.export.programs import export_programs
    from worldjepa.export.transformers_format import export_transformers
    from worldjepa.loading import load

    assert config.run.dir is not None and config.out is not None
    out = Path(config.out).expanduser()
    model = load(config.run.dir, device="cpu")
    if config.format == "transformers":
        export_transformers(model, out)
        sys.stdout.write(f"{out}: transformers.VJEPA2Model.from_pretrained({str(out)!r}) loads it\n")
        return 0
    described = export_programs(model, out, num_frames=config.num_frames, history=config.history)
    for name in described["files"]:
        inputs, outputs = (
            ", ".join(_shown(one) for one in described[name][which]) for which in ("inputs", "outputs")
        )
        worst = max(described[name]["difference"].values())
        sys.stdout.write(
            f"{name}: {inputs} -> {outputs}; differs from the model by {worst:.1g} of its largest number\n"
        )
    sys.stdout.write(f"{out}: {', '.join(sorted(file.name for file in out.iterdir()))}\n")
    return 0


def _shown(tensor: dict[str, Any]) -> str:
    return f"{tensor['name']} [{' '.join(map(str, tensor['shape']))}]"


if __name__ == "__main__":
    sys.exit(main())
