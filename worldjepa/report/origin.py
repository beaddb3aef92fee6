"""Where a run comes from: the command that makes it again, and what in it is not as the experiment has it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from worldjepa.config import TrainConfig
from worldjepa.settings.compose import compose, fill
from worldjepa.settings.joining import experiments
from worldjepa.settings.schema import ConfigError, field_types, is_settings, plain

FOUND = ("model.action_dim", "model.proprioception_dim")  # set by what the episodes hold, not by people
PLACES = ("run.dir", "experiment", "model.size")  # the command says them first
PROGRAM = "python -m worldjepa.train"


@dataclass(frozen=True)
class Difference:
    """A setting that is not as the experiment has it; ``word`` sets it."""

    name: str
    value: Any
    usual: Any

    @property
    def word(self) -> str:
        """Return it for the command line; what a mapping lacks is removed."""
        return f"~{self.name}" if self.value is ABSENT else f"{self.name}={written(self.value)}"


ABSENT = object()


@dataclass(frozen=True)
class Origin:
    """``words``: the command line; ``differences`` from the experiment as it is on a ``kind`` of device.

    ``exact``: whether the words give the run's settings, tried. ``experiment`` None: there is no such one.
    """

    experiment: str | None
    kind: str
    words: list[str]
    differences: list[Difference]
    exact: bool

    @property
    def command(self) -> str:
        """Return what to type."""
        return shlex.join([*PROGRAM.split(), *self.words])


def trace(config: TrainConfig) -> Origin:
    """Find the shortest command that gives ``config``, on the device that it was filled for."""
    name = config.experiment
    if name not in experiments():
        words = ["--config-dir=FOLDER"] * (name is not None) + [f"+experiment={name or 'NAME'}"]
        differences = list(_differences(config, TrainConfig()))
        return Origin(None, "cpu", [*words, f"run.dir={config.run.dir}"], differences, False)
    found = [_traced(config, name, kind) for kind in ("cpu", "gpu")]
    return min(found, key=lambda origin: (not origin.exact, len(origin.words)))


def _traced(config: TrainConfig, name: str, kind: str) -> Origin:
    """Compose the experiment, name what differs, and try whether the words give the settings."""
    first = [f"+experiment={name}"]
    if config.run.dir and config.run.dir != f"runs/{name}":
        first.append(f"run.dir={config.run.dir}")
    if config.model.size and _filled(first, kind).model.size != config.model.size:
        first.append(f"model={config.model.size}")
    differences = list(_differences(config, _filled(first, kind)))
    words = [*first, *(one.word for one in differences)]
    # the masks that a profile chooses are not there to be removed once the words name others
    kept = [word for word in words if not word.startswith("~masking.")]
    for tried in (words, kept):
        if _gives(tried, kind, config):
            return Origin(name, kind, tried, differences, True)
    return Origin(name, kind, words, differences, False)


def _gives(words: list[str], kind: str, config: TrainConfig) -> bool:
    try:
        return not list(_differences(config, _filled(words, kind)))
    except ConfigError:
        return False


def _filled(words: list[str], kind: str) -> TrainConfig:
    return fill(compose(words), words, kind)[0]


def _differences(config: Any, base: Any, prefix: str = "") -> Iterator[Difference]:
    """Yield the settings of ``config`` that ``base`` has otherwise; mappings name by name."""
    for name, annotation in field_types(type(config)).items():
        value, usual, full = getattr(config, name), getattr(base, name), f"{prefix}{name}"
        if full in FOUND or full in PLACES:
            continue
        if is_settings(annotation):
            yield from _differences(value, usual, f"{full}.")
        elif isinstance(value, dict) and isinstance(usual, dict):
            for key in [*value, *(key for key in usual if key not in value)]:
                one, other = value.get(key, ABSENT), usual.get(key, ABSENT)
                if plain(one) != plain(other):
                    yield Difference(f"{full}.{key}", one, other)
        elif plain(value) != plain(usual):
            yield Difference(full, plain(value), plain(usual))


def written(value: Any) -> str:
    """Return a value as the command line takes it."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {written(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(written(item) for item in value) + "]"
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    return str(value)
