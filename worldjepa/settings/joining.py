"""The files of ``conf/`` and the words of a command joined by Hydra, then checked by name and type."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator
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

from worldjepa.config import TrainConfig
from worldjepa.settings.corpus import IndexConfig, PrepareConfig
from worldjepa.settings.env import CollectConfig
from worldjepa.settings.evaluation import EvaluateConfig
from worldjepa.settings.overrides import REMOVE, Command
from worldjepa.settings.planning import PlanConfig
from worldjepa.settings.report import ReportConfig
from worldjepa.settings.schema import ConfigError, from_dict, unknown_setting

SCHEMAS: dict[str, type] = {  # by the file of conf/
    "train": TrainConfig,
    "collect": CollectConfig,
    "plan": PlanConfig,
    "evaluate": EvaluateConfig,
    "index": IndexConfig,
    "prepare": PrepareConfig,
    "report": ReportConfig,
}


def experiments(config_dir: str | None = None) -> list[str]:
    """Return the names that ``+experiment=`` takes."""
    return list_groups(config_dir)["experiment"]


def list_groups(config_dir: str | None = None) -> dict[str, list[str]]:
    """Return the names of the files in each group of ``conf``, with those of the user's own folder."""
    groups: dict[str, list[str]] = {}
    for folder in sorted(conf_files().iterdir(), key=lambda entry: entry.name):
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


def conf_files() -> Any:
    """Return the folder ``conf``, in a checkout or installed."""
    return resources.files("worldjepa.conf")


def joined(command: Command, entry: str) -> tuple[Any, dict[str, str]]:
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


def home(path: str | None) -> str | None:
    """Return ``path`` with ``~`` spelled out (the shell leaves it alone after ``=``); empty becomes None."""
    return os.path.expanduser(path) if path else None


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
