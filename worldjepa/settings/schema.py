"""Settings as data: plain dictionaries to the dataclasses of ``config*.py`` and back, checked on the way.

No torch and no Hydra: a run folder's stored settings are read with this file alone, and nothing in them
is ever instantiated by name.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any, Union, get_args, get_origin, get_type_hints

from worldjepa.config import TrainConfig

# what other projects call some settings
OTHER_NAMES = {
    "learning_rate": "lr",
    "epochs": "steps",
    "max_steps": "steps",
    "workers": "num_workers",
    "crop_size": "size",
    "image_size": "size",
    "resolution": "size",
    "dtype": "precision",
    "momentum": "ema",
    "output_dir": "dir",
}


class ConfigError(ValueError):
    """A setting that cannot be used; the message is one line for the person who wrote it."""


def did_you_mean(word: str, names: Iterable[str]) -> str:
    """Return ``"; did you mean X?"`` for the name nearest to ``word``, or an empty text if none is near."""
    near = difflib.get_close_matches(word, list(names), n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else ""


def is_settings(annotation: Any) -> bool:
    """Tell whether ``annotation`` is a group of settings (a dataclass)."""
    return isinstance(annotation, type) and dataclasses.is_dataclass(annotation)


@cache
def field_types(cls: type) -> dict[str, Any]:
    """Return the types of a settings dataclass by field name."""
    hints = get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


def setting_names(cls: type, prefix: str = "") -> Iterator[str]:
    """Yield the dotted names of all settings of ``cls``, leaves only."""
    for name, annotation in field_types(cls).items():
        if is_settings(annotation):
            yield from setting_names(annotation, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def find_setting(cls: type, name: str) -> Any:
    """Return the type of the setting with a dotted ``name``; raise ``ConfigError`` if there is none.

    Mappings (``masking``, ``objective.weights``) are open: any name below them is found.
    """
    annotation: Any = cls
    for part in name.split("."):
        if is_settings(annotation) and part in field_types(annotation):
            annotation = field_types(annotation)[part]
        elif get_origin(annotation) is dict:
            annotation = get_args(annotation)[1]
        elif annotation is not Any:
            raise unknown_setting(cls, name)
    return annotation


def unknown_setting(cls: type, name: str) -> ConfigError:
    """Return the error for a ``name`` that is no setting, with the nearest one that is."""
    parts = name.split(".")
    if "_target_" in parts:
        return ConfigError(f"{name}: _target_ is honoured only under masking.<name>; remove it here")
    names = list(setting_names(cls))
    parent = ".".join(parts[:-1])
    siblings = [full for full in names if parent and full.rpartition(".")[0] == parent]
    # within its group if that is right (optim.lerning_rate), else anywhere (lr, opt.lr)
    lasts = {full.rpartition(".")[2]: full for full in reversed(siblings or names)}
    near = difflib.get_close_matches(_our_name(parts[-1]), lasts, n=1, cutoff=0.7)
    if near:
        hint = f"; did you mean {lasts[near[0]]}?"
    elif siblings:
        hint = f"; there are {', '.join(siblings)}"
    else:
        hint = did_you_mean(name, names) or "; --help lists the settings"
    return ConfigError(f"{name}: there is no such setting{hint}")


def _our_name(word: str) -> str:
    other = difflib.get_close_matches(word, OTHER_NAMES, n=1, cutoff=0.85)
    return OTHER_NAMES[other[0]] if other else word


def describe(annotation: Any) -> str:
    """Return in words what a setting of this type takes."""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Union:
        inner = next(arg for arg in args if arg is not type(None))
        return f"{describe(inner)} or null"
    if origin is tuple:
        numbers = ",".join(f"{index}.0" for index in range(len(args)))
        return f"{len(args)} numbers such as [{numbers}]"
    if origin is list:
        return (
            "a list such as [{root: /videos, weight: 1.0}]"
            if is_settings(args[0])
            else "a list such as [a,b]"
        )
    if origin is dict or is_settings(annotation):
        return "a mapping such as {name: value}"
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
    return words.get(annotation, "a value")  # Any, under masking


def convert(annotation: Any, value: Any, name: str) -> Any:
    """Return ``value`` as the type of setting ``name``; raise ``ConfigError`` where it does not fit.

    Whole floats (``1e4``) pass for whole numbers and lists for tuples; text never passes for a number.
    """
    origin, args = get_origin(annotation), get_args(annotation)
    if annotation is Any:
        return value
    if origin is Union:
        inner = next(arg for arg in args if arg is not type(None))
        return None if value is None else _fit(inner, value, name, annotation)
    return _fit(annotation, value, name, annotation)


def _fit(annotation: Any, value: Any, name: str, declared: Any) -> Any:
    origin, args = get_origin(annotation), get_args(annotation)
    if is_settings(annotation) and isinstance(value, Mapping):
        return build(annotation, value, f"{name}.")
    if origin is dict and isinstance(value, Mapping):
        return {str(key): convert(args[1], item, f"{name}.{key}") for key, item in value.items()}
    if origin is list and isinstance(value, (list, tuple)):
        return [convert(args[0], item, f"{name}[{index}]") for index, item in enumerate(value)]
    if origin is tuple and isinstance(value, (list, tuple)) and len(value) == len(args):
        return tuple(convert(arg, item, name) for arg, item in zip(args, value, strict=True))
    if annotation is bool and isinstance(value, bool):
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        if annotation is float:
            return float(value)
        if annotation is int and value == int(value):
            return int(value)
    if annotation is str and isinstance(value, str):
        return value
    shown = "null" if value is None else repr(value)
    raise ConfigError(f"{name}: expected {describe(declared)}, got {shown}")


def build(cls: type, values: Mapping[str, Any], prefix: str = "") -> Any:
    """Return the dataclass ``cls`` with ``values`` in place of its defaults, each checked."""
    types = field_types(cls)
    for key in values:
        if key not in types:
            if prefix == "":
                raise unknown_setting(cls, str(key))
            if key == "_target_":
                raise unknown_setting(cls, f"{prefix}{key}")
            raise ConfigError(
                f"{prefix}{key}: there is no such setting{did_you_mean(str(key), types)} "
                f"({prefix[:-1]} has {', '.join(types)})"
            )
    return cls(**{key: convert(types[str(key)], value, f"{prefix}{key}") for key, value in values.items()})


def from_dict(values: Any, cls: type = TrainConfig) -> Any:
    """Return the settings stored by ``to_dict``; raise ``ConfigError`` for what else a file may hold.

    What is left out takes its default, so that settings stored by an older version can be read.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(f"expected settings, a name with a value each, got {values!r:.80}")
    return build(cls, values)


def to_dict(config: Any) -> dict[str, Any]:
    """Return settings as plain dictionaries, lists, numbers and text, fit for YAML and JSON."""
    return {name: plain(getattr(config, name)) for name in field_types(type(config))}


def plain(value: Any) -> Any:
    """Return ``value`` with dataclasses as dictionaries and tuples as lists, all the way down."""
    if dataclasses.is_dataclass(value):
        return to_dict(value)
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def changed_settings(old: Any, new: Any) -> list[str]:
    """Return the dotted names of settings that differ, less those that may (``config_run.runtime``)."""
    return list(_changes(old, new, ""))


def _changes(old: Any, new: Any, prefix: str) -> Iterator[str]:
    for field in dataclasses.fields(old):
        one, other, name = getattr(old, field.name), getattr(new, field.name), f"{prefix}{field.name}"
        if field.metadata.get("runtime"):
            continue
        if dataclasses.is_dataclass(one):
            yield from _changes(one, other, f"{name}.")
        elif isinstance(one, dict) and isinstance(other, dict):
            keys = list(one) + [key for key in other if key not in one]
            yield from (f"{name}.{key}" for key in keys if plain(one.get(key)) != plain(other.get(key)))
        elif plain(one) != plain(other):
            yield name
