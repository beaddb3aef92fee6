"""From a command line to checked settings, before torch is imported; then what was left unset, by device.

``compose`` reads the words (``overrides.py``), lets Hydra join the files of ``conf/`` (``joining.py``) and
checks the result by name, type (``schema.py``) and range (``validate.py``). ``fill`` gives the settings that
nobody chose the values of ``conf/profile/<kind>.yaml``.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from worldjepa.config import VIDEO_KINDS, TrainConfig
from worldjepa.hardware import batch_size_for, cpu_has_bf16
from worldjepa.settings.joining import conf_files, home, joined, list_groups
from worldjepa.settings.overrides import Command, read_flags, read_words
from worldjepa.settings.schema import ConfigError, field_types, is_settings
from worldjepa.settings.validate import validate

ALTERNATIVES = {"data.fps": "data.frame_skip", "data.frame_skip": "data.fps"}


def compose(argv: Sequence[str]) -> TrainConfig:
    """Return the settings that the words of a command line ask for; ``None`` is left for ``fill``.

    ``argv`` is without the program's name, such as ``["+experiment=kinetics", "model=tiny"]``. Hydra's
    global state is left as it was. Raises ``ConfigError``, one line that names the setting.
    """
    return _train_settings(_read_train(argv))


def fill(config: TrainConfig, argv: Sequence[str], kind: str) -> tuple[TrainConfig, str]:
    """Return ``compose(argv)`` with what is unset chosen for a ``kind`` of device, and a line that says so.

    ``kind`` is ``cpu`` or ``gpu``; world models have profiles of their own (``cpu_dynamics``). A group of
    files (``model``, ``masking``) that neither the command nor the experiment chose is taken there,
    then every setting that is still ``None``. The command line and the experiment win over the profile. The
    line is empty if nothing was unset.
    """
    name = kind if config.objective.kind in VIDEO_KINDS else f"{kind}_dynamics"
    profile = yaml.safe_load((conf_files() / "profile" / f"{name}.yaml").read_text())
    groups = {name: profile.pop(name) for name in ("model", "masking") if name in profile}
    chosen = {"model": config.model.size, "masking": config.masking}
    unset = {name: value for name, value in groups.items() if not chosen[name]}
    filled = copy.deepcopy(config)
    if unset:  # composed again, for the experiment to lie on top of the files of the profile's choice
        command = _read_train(argv)
        command.choices.update(unset)
        filled = _train_settings(command)
    said = [f"{name}={value}" for name, value in unset.items()]
    said += _fill_leaves(filled, profile)
    said += _fill_by_machine(filled, kind)
    validate(filled)
    line = f"{kind}: {' '.join(said)} (chosen for this device; set any of them to choose otherwise)"
    return filled, line if said else ""


def _read_train(argv: Sequence[str]) -> Command:
    """Return the command that ``argv`` spells, each word checked by itself."""
    command, words = read_flags(argv)
    groups = list_groups(command.config_dir)
    read_words(command, words, TrainConfig, groups)
    if "experiment" not in command.choices:
        raise ConfigError(
            f"no experiment is chosen; add one, such as +experiment=kinetics (there are: "
            f"{', '.join(groups['experiment'])}), or see --help"
        )
    return command


def _train_settings(command: Command) -> TrainConfig:
    """Return the joined settings with names and paths in place, checked."""
    config, chosen = joined(command, "train")
    config.experiment, config.model.size = command.choices["experiment"], chosen.get("model")
    config.run.dir = home(config.run.dir) or f"runs/{config.experiment}"
    config.data.root, config.data.val_root = home(config.data.root), home(config.data.val_root)
    config.data.index = home(config.data.index)
    for source in config.data.sources:
        source.root = home(source.root) or ""
    validate(config)
    if config.objective.kind == "none":
        raise ConfigError("objective.kind=none: there is nothing to train; set it to masked or dynamics")
    return config


def _fill_leaves(config: Any, values: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Set what is ``None`` in ``config`` from ``values``, in place; return it as ``name=value``."""
    before = {name for name in field_types(type(config)) if getattr(config, name) is not None}
    said = []
    for name, value in values.items():
        if is_settings(field_types(type(config))[name]):
            said += _fill_leaves(getattr(config, name), value, f"{prefix}{name}.")
            continue
        other = ALTERNATIVES.get(f"{prefix}{name}", "").rpartition(".")[2]
        if name in before or other in before:
            continue
        said.append(f"{prefix}{name}={_shown(value)}")
        setattr(config, name, tuple(value) if isinstance(value, list) else value)
    return said


def _fill_by_machine(config: TrainConfig, kind: str) -> list[str]:
    """Set precision and batch size, where unset, by what this machine can do."""
    said = []
    if config.train.precision is None:
        config.train.precision = "bf16" if kind == "gpu" or cpu_has_bf16() else "fp32"
        said.append(f"train.precision={config.train.precision}")
    if config.train.batch_size is None:
        import torch  # only here: settings are checked before torch is loaded

        memory = torch.cuda.get_device_properties(0).total_memory if torch.cuda.is_available() else 0
        config.train.batch_size = batch_size_for(config, memory, int(os.environ.get("WORLD_SIZE", "1")))
        said.append(f"train.batch_size={config.train.batch_size}")
    return said


def _shown(value: Any) -> str:
    return str(value).replace(" ", "")
