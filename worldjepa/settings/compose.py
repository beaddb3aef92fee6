"""From a command line to checked settings, before torch is imported; then what was left unset, by device.

``compose`` (training), ``compose_collection`` and ``compose_plan`` read the words (``overrides.py``), let
Hydra join the files of ``conf/`` and check the result by name, type (``schema.py``) and range
(``validate.py``). ``fill`` gives the settings that nobody chose the values of ``conf/profile/<kind>.yaml``.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from hydra import compose as hydra_compose
from hydra import initialize_config_module
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException

from worldjepa.config import VIDEO_KINDS, TrainConfig
from worldjepa.hardware import batch_size_for, cpu_has_bf16
from worldjepa.settings.corpus import IndexConfig, PrepareConfig
from worldjepa.settings.env import CollectConfig
from worldjepa.settings.evaluation import EvaluateConfig
from worldjepa.settings.overrides import REMOVE, Command, read_flags, read_words
from worldjepa.settings.planning import PlanConfig
from worldjepa.settings.report import ReportConfig
from worldjepa.settings.schema import (
    ConfigError,
    field_types,
    from_dict,
    is_settings,
    to_dict,
    unknown_setting,
)
from worldjepa.settings.validate import validate
from worldjepa.settings.validate_corpus import validate_index, validate_prepare
from worldjepa.settings.validate_env import validate_collection
from worldjepa.settings.validate_evaluation import validate_evaluation, validate_report
from worldjepa.settings.validate_plan import validate_plan

SCHEMAS: dict[str, type] = {  # by the file of conf/
    "train": TrainConfig,
    "collect": CollectConfig,
    "plan": PlanConfig,
    "evaluate": EvaluateConfig,
    "index": IndexConfig,
    "prepare": PrepareConfig,
    "report": ReportConfig,
}
ALTERNATIVES = {"data.fps": "data.frame_skip", "data.frame_skip": "data.fps"}


def compose(argv: Sequence[str]) -> TrainConfig:
    """Return the settings that the words of a command line ask for; ``None`` is left for ``fill``.

    ``argv`` is without the program's name, such as ``["+experiment=kinetics", "model=tiny"]``. Hydra's
    global state is left as it was. Raises ``ConfigError``, one line that names the setting.
    """
    return _train_settings(_read_train(argv))


def compose_collection(argv: Sequence[str]) -> CollectConfig:
    """Return what ``python -m worldjepa.collect`` is asked for, such as ``["env.id=CartPole-v1", "seed=1"]``.

    Raises ``ConfigError``, one line that names the setting.
    """
    command, words = read_flags(argv)
    if command.config_dir:
        raise ConfigError("--config-dir: collecting takes its settings from the command alone; leave it out")
    read_words(command, words, CollectConfig, {})
    config, _ = _joined(command, "collect")
    config.data.root = _home(config.data.root)
    validate_collection(config)
    if config.data.root is None:
        name = (config.env.id or "").rpartition(":")[2].replace("/", "-")
        config.data.root = f"runs/episodes/{name}"
    return config


def compose_index(argv: Sequence[str]) -> IndexConfig:
    """Return what ``python -m worldjepa.index`` is asked for, such as ``["data.root=/videos"]``.

    Raises ``ConfigError``, one line that names the setting.
    """
    config = _corpus_settings(argv, "index")
    config.data.index, config.report = _home(config.data.index), _home(config.report)
    validate_index(config)
    return config


def compose_prepare(argv: Sequence[str]) -> PrepareConfig:
    """Return what ``python -m worldjepa.prepare`` is asked for, such as ``["data.root=/a", "out=/b"]``.

    Raises ``ConfigError``, one line that names the setting.
    """
    config = _corpus_settings(argv, "prepare")
    config.out = _home(config.out)
    validate_prepare(config)
    return config


def _corpus_settings(argv: Sequence[str], entry: str) -> Any:
    command, words = read_flags(argv)
    if command.config_dir:
        raise ConfigError("--config-dir: this command takes its settings from its words alone; leave it out")
    read_words(command, words, SCHEMAS[entry], {})
    config, _ = _joined(command, entry)
    config.data.root = _home(config.data.root)
    return config


def compose_plan(argv: Sequence[str]) -> tuple[PlanConfig, TrainConfig]:
    """Return what ``python -m worldjepa.plan`` is asked for, such as ``["run.dir=runs/a"]``, and its run.

    Settings of ``plan`` that the words leave out are those that the run was trained with. Raises
    ``ConfigError``, one line that names the setting.
    """
    command, words = read_flags(argv)
    if command.config_dir:
        raise ConfigError(
            "--config-dir: planning takes its settings from the run and the command; leave it out"
        )
    read_words(command, words, PlanConfig, {})
    given = dict(command.settings)
    run_dir = _home(given.get("run.dir"))
    run = _stored(run_dir)
    kept = {f"plan.{name}": value for name, value in to_dict(run.plan).items()}
    if "plan.planner" in given:
        del kept["plan.planner_settings"]  # another planner's
    command.settings[:0] = [(name, value) for name, value in kept.items() if name not in given]
    config, _ = _joined(command, "plan")
    config.run.dir, config.data.root = run_dir, _home(config.data.root)
    validate_plan(config)
    return config, run


def compose_evaluation(argv: Sequence[str]) -> tuple[EvaluateConfig, TrainConfig]:
    """Return what ``python -m worldjepa.evaluate`` is asked for, such as ``["run.dir=runs/a"]``, and its run.

    Raises ``ConfigError``, one line that names the setting.
    """
    command, words = read_flags(argv)
    if command.config_dir:
        raise ConfigError(
            "--config-dir: evaluating takes its settings from the run and the command; leave it out"
        )
    read_words(command, words, EvaluateConfig, {})
    config, _ = _joined(command, "evaluate")
    for place, name in ((config.run, "dir"), (config.data, "root"), (config.data, "val_root")):
        setattr(place, name, _home(getattr(place, name)))
    validate_evaluation(config)
    return config, _stored(config.run.dir)


def compose_report(argv: Sequence[str]) -> ReportConfig:
    """Return what ``python -m worldjepa.report`` is asked for, such as ``["run.dir=runs/a"]``.

    Raises ``ConfigError``, one line that names the setting.
    """
    command, words = read_flags(argv)
    if command.config_dir:
        raise ConfigError("--config-dir: a report takes its settings from the run; leave it out")
    read_words(command, words, ReportConfig, {})
    config, _ = _joined(command, "report")
    config.run.dir = _home(config.run.dir)
    validate_report(config)
    return config


def _stored(run_dir: str | None) -> TrainConfig:
    """Return the settings that a run was trained with."""
    if run_dir is None:
        raise ConfigError("run.dir: no run is named; add one, such as run.dir=runs/two_rooms")
    path = Path(run_dir) / "config.yaml"
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(
            f"run.dir={run_dir}: no run was trained there ({path} cannot be read: {error})"
        ) from error
    return from_dict(values)


def fill(config: TrainConfig, argv: Sequence[str], kind: str) -> tuple[TrainConfig, str]:
    """Return ``compose(argv)`` with what is unset chosen for a ``kind`` of device, and a line that says so.

    ``kind`` is ``cpu`` or ``gpu``; world models have profiles of their own (``cpu_dynamics``). A group of
    files (``model``, ``masking``) that neither the command nor the experiment chose is taken there,
    then every setting that is still ``None``. The command line and the experiment win over the profile. The
    line is empty if nothing was unset.
    """
    name = kind if config.objective.kind in VIDEO_KINDS else f"{kind}_dynamics"
    profile = yaml.safe_load((_conf() / "profile" / f"{name}.yaml").read_text())
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


def experiments(config_dir: str | None = None) -> list[str]:
    """Return the names that ``+experiment=`` takes."""
    return list_groups(config_dir)["experiment"]


def list_groups(config_dir: str | None = None) -> dict[str, list[str]]:
    """Return the names of the files in each group of ``conf``, with those of the user's own folder."""
    groups: dict[str, list[str]] = {}
    for folder in sorted(_conf().iterdir(), key=lambda entry: entry.name):
        if folder.is_dir() and folder.name not in ("profile", "__pycache__"):
            groups[folder.name] = [file.name[:-5] for file in folder.iterdir() if file.name.endswith(".yaml")]
    own = Path(config_dir).expanduser() if config_dir else None
    if own and not own.is_dir():
        raise ConfigError(f"--config-dir={config_dir}: there is no such folder")
    for group, names in groups.items():
        mine = [file.stem for file in (own / group).glob("*.yaml")] if own else []
        for name in set(mine) & set(names):
            raise ConfigError(f"{own}/{group}/{name}.yaml bears the name of a file of worldjepa's; rename it")
        groups[group] = sorted(names + mine)
    return groups


def _conf() -> Any:
    return resources.files("worldjepa.conf")


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
    config, chosen = _joined(command, "train")
    config.experiment, config.model.size = command.choices["experiment"], chosen.get("model")
    config.run.dir = _home(config.run.dir) or f"runs/{config.experiment}"
    config.data.root, config.data.val_root = _home(config.data.root), _home(config.data.val_root)
    config.data.index = _home(config.data.index)
    for source in config.data.sources:
        source.root = _home(source.root) or ""
    validate(config)
    if config.objective.kind == "none":
        raise ConfigError("objective.kind=none: there is nothing to train; set it to masked or dynamics")
    return config


def _joined(command: Command, entry: str) -> tuple[Any, dict[str, str]]:
    """Compose the files chosen and put the single settings on top; also return the file of each group."""
    schema = SCHEMAS[entry]
    try:
        files = _compose_files(entry, tuple(command.choices.items()), command.config_dir)
        composed, chosen = copy.deepcopy(files)
        for key, value in command.settings:
            _assign(composed, key, value)
        values = OmegaConf.to_container(composed, resolve=True)
    except (HydraException, OmegaConfBaseException, yaml.YAMLError) as error:
        raise _refusal(error, schema) from error
    assert isinstance(values, dict)
    return from_dict({str(key): value for key, value in values.items()}, schema), chosen


@cache  # filling asks for the same files again
def _compose_files(
    entry: str, choices: tuple[tuple[str, str], ...], config_dir: str | None
) -> tuple[DictConfig, dict[str, str]]:
    """Return the files joined by Hydra, not yet resolved, and the file chosen in each group."""
    ConfigStore.instance().store(name=f"worldjepa_{entry}", node=SCHEMAS[entry])
    overrides = [f"{group}={name}" for group, name in choices]
    if config_dir:
        folder = Path(config_dir).expanduser().resolve()
        overrides.append(f"hydra.searchpath=['file://{folder}']")
    with _own_hydra():
        composed = hydra_compose(entry, overrides=overrides, return_hydra_config=True)
    chosen = composed.hydra.runtime.choices  # with those that an experiment makes
    chosen = {str(group): str(name) for group, name in chosen.items() if name is not None}
    OmegaConf.set_readonly(composed, False)
    OmegaConf.set_struct(composed, False)
    del composed["hydra"]
    return composed, chosen


@contextmanager
def _own_hydra() -> Iterator[None]:
    """Run Hydra on our files beside a Hydra application that may be running in this process."""
    before = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with initialize_config_module("worldjepa.conf", version_base="1.3"):
            yield
    finally:
        GlobalHydra.instance().hydra = before


def _assign(composed: DictConfig, key: str, value: Any) -> None:
    if value is not REMOVE:
        OmegaConf.update(composed, key, value, merge=True, force_add=True)
        return
    parent, _, name = key.rpartition(".")
    node = OmegaConf.select(composed, parent)
    if name not in node:
        raise ConfigError(f"~{key}: {parent} has no {name}; it has {', '.join(map(str, node)) or 'nothing'}")
    del node[name]


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


def _home(path: str | None) -> str | None:
    """Return ``path`` with ``~`` spelled out (the shell leaves it alone after ``=``); empty becomes None."""
    return os.path.expanduser(path) if path else None


def _refusal(error: BaseException, schema: type) -> ConfigError:
    """Return what Hydra or OmegaConf found wrong, in one line that names the setting."""
    inner: BaseException | None = error
    while inner is not None and not isinstance(inner, OmegaConfBaseException):
        inner = inner.__cause__ or inner.__context__  # Hydra's own message names only the file
    found = inner or error
    key = getattr(found, "full_key", None)
    if isinstance(found, ConfigKeyError):
        return unknown_setting(schema, key or str(found.key))
    text = " ".join(str(found).split("\n")[0].split())
    if not isinstance(found, OmegaConfBaseException):  # a file that is no YAML: say where
        text = " ".join(str(found).split())
    return ConfigError(f"{key}: {text}" if key and not text.startswith(str(key)) else text)
