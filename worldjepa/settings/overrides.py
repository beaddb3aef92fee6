"""The words of a command line, read and checked one by one before anything is composed.

Hydra's grammar gives the values (``[0.3,1.0]``, ``{a: 1}``, quotes, ``${oc.env:HOME}``); the names are
checked here, because Hydra takes ``+optim.warmupp=3`` and ``+experimnt=kinetics`` in silence.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Union, get_args, get_origin

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from worldjepa.settings.schema import (
    ConfigError,
    convert,
    describe,
    did_you_mean,
    find_setting,
    is_settings,
    plain,
    setting_names,
)

REMOVE = object()  # the value of ``~masking.future``


@dataclass
class Command:
    """A command line: the file chosen in each group, then single settings in the order given."""

    choices: dict[str, str] = field(default_factory=dict)
    settings: list[tuple[str, Any]] = field(default_factory=list)
    config_dir: str | None = None
    help: bool = False
    show: bool = False


def read_flags(argv: Sequence[str]) -> tuple[Command, list[str]]:
    """Return a command with the flags of ``argv`` set, and the words that are no flags."""
    command, words, rest = Command(), [], list(argv)
    while rest:
        word = rest.pop(0)
        flag, _, value = word.partition("=")
        if flag in ("--help", "-h"):
            command.help = True
        elif flag == "--cfg":
            command.show = True
            if not value and rest and rest[0] in ("job", "all"):  # Hydra's own form takes a word
                rest.pop(0)
        elif flag == "--config-dir":
            command.config_dir = value or (rest.pop(0) if rest else "")
            if not command.config_dir:
                raise ConfigError("--config-dir: expected a folder; write --config-dir=my_conf")
        elif flag in ("--multirun", "-m"):
            raise ConfigError("--multirun: one command is one run; start one command for each value instead")
        elif word.startswith("-"):
            bare = flag.lstrip("-").replace("-", "_")
            known = bare in ("experiment", "model", "masking") or "." in bare or bare in ("seed", "device")
            form = f"; settings take no dashes: {bare}={value or 'VALUE'}" if known else ""
            raise ConfigError(f"{flag}: there is no such option (--help, --cfg, --config-dir){form}")
        else:
            words.append(word)
    return command, words


def read_words(command: Command, words: Sequence[str], schema: type, groups: Mapping[str, list[str]]) -> None:
    """Read ``words`` into ``command``; raise ``ConfigError`` for the first that is not a known setting.

    ``groups`` holds the files of each group of ``conf`` (``experiment``, ``model``, ...). A leading ``+``
    or ``++`` changes nothing: every setting has a default, so adding and changing are the same.
    """
    parser = OverridesParser.create()
    for word in words:
        if word.startswith("~"):
            command.settings.append((_removed(word[1:], schema), REMOVE))
            continue
        key, equals, text = word.partition("=")
        key, text = key.strip().lstrip("+"), text.strip()
        if not equals:
            raise _stray(word, schema, groups)
        _check_form(word, key)
        if key in groups:
            command.choices.pop(key, None)
            if text != "null":
                command.choices[key] = _choice(key, text.strip("'\""), groups[key])
            continue
        annotation = _known_setting(key, schema, groups)
        if not text:
            raise ConfigError(f"{key}: there is no value after '='; write {key}=VALUE, or leave {key} out")
        command.settings.append((key, _value(parser, key, text, annotation)))


def _check_form(word: str, key: str) -> None:
    if not key:
        raise ConfigError(f"'{word}': there is no name before '='; write name=value, such as seed=1")
    if key == "hydra" or key.startswith(("hydra.", "hydra/")):
        raise ConfigError(f"{key}: Hydra's own settings have no effect; the run folder is run.dir=FOLDER")
    if not re.fullmatch(r"[A-Za-z_][\w-]*(\.[\w-]+)*", key):
        raise ConfigError(f"'{word}': {key!r} is not a name; write name=value, such as optim.lr=1e-3")


def _choice(group: str, name: str, options: list[str]) -> str:
    if name not in options:
        what = "value" if not name else repr(name)
        raise ConfigError(
            f"{group}: expected one of {', '.join(options)}; got {what if name else 'nothing'}"
            f"{did_you_mean(name, options)}"
        )
    return name


def _known_setting(key: str, schema: type, groups: Mapping[str, list[str]]) -> Any:
    first = key.split(".")[0]
    near = did_you_mean(key, groups)
    if "." not in key and near and key not in list(setting_names(schema)):
        raise ConfigError(f"{key}: there is no such setting{near}")
    if first in groups and first not in {name.split(".")[0] for name in setting_names(schema)}:
        raise ConfigError(f"{key}: {first} is chosen as a whole: {first}={'|'.join(groups[first])}")
    return find_setting(schema, key)


def _removed(key: str, schema: type) -> str:
    parent, _, name = key.partition("=")[0].rpartition(".")
    if not parent or get_origin(find_setting(schema, parent)) is not dict:
        raise ConfigError(f"~{key}: settings cannot be removed; to leave one unset write {key}=null")
    return f"{parent}.{name}"


def _stray(word: str, schema: type, groups: Mapping[str, list[str]]) -> ConfigError:
    key = word.lstrip("+")
    if key in groups:
        return ConfigError(f"'{word}' lacks a value; write {word}={'|'.join(groups[key])}")
    if key in setting_names(schema):
        return ConfigError(f"'{word}' lacks a value; write {word}=VALUE in one word")
    for group, options in groups.items():
        if key in options:
            return ConfigError(f"'{word}' is not of the form name=value; did you mean {group}={key}?")
    return ConfigError(
        f"'{word}' is not of the form name=value; write for example seed=1, "
        f"and quote a value with spaces: 'data.root=/my videos'"
    )


def _value(parser: OverridesParser, key: str, text: str, annotation: Any) -> Any:
    """Return the value written as ``text``: of the right type, or text to be interpolated."""
    if _takes_text(annotation):
        return _text(parser, text)
    try:
        override = parser.parse_override(f"{key}={text}")
    except HydraException as error:
        raise ConfigError(
            f"{key}={text} cannot be read: expected {describe(annotation)}; close brackets and quotes, and "
            f"quote the whole word for the shell where it holds spaces: '{key}=...'"
        ) from error
    if override.is_sweep_override():
        listed = f"; a list is written {key}=[{text}]" if "," in text and "(" not in text else ""
        raise ConfigError(f"{key}: expected one value, got several ({text}){listed}")
    value = override.value()
    if isinstance(value, str) and "${" in value:
        return value  # checked once it is resolved
    if is_settings(annotation):
        if not isinstance(value, Mapping):
            inside = next(setting_names(annotation, f"{key}."))
            raise ConfigError(f"{key} is a group of settings; set one of them, such as {inside}=...")
        convert(annotation, value, key)
        return value  # a mapping names only some of the group's settings: merged, not replaced
    return plain(convert(annotation, value, key))


def _takes_text(annotation: Any) -> bool:
    return annotation is str or (get_origin(annotation) is Union and str in get_args(annotation))


def _text(parser: OverridesParser, text: str) -> str | None:
    """Return text as the shell gave it, so that a path may hold commas, brackets, ``=`` and ``~``."""
    quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "'\""
    if not quoted:
        return None if text == "null" else text
    try:
        return str(parser.parse_override(f"text={text}").value())
    except HydraException:
        return text
