"""JSON and YAML of others read as data: bounded in size and depth, every key once, fit to be printed.

No torch. Nothing read here is ever instantiated; YAML's tags and anchors are refused, which settings written
by ``yaml.safe_dump`` do not have, and which can say much with few bytes.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

MOST_BYTES = 4 << 20
MOST_DEEP = 64
LONGEST_TEXT = 4096  # the longest path
_STEERING = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")  # a terminal, when it is printed
_PARSED = "what this package writes is plain data; the file was damaged or was made by others"


class PlainDataError(ValueError):
    """A file does not hold plain data, or more than such a file ever holds."""


def read_json(path: Path) -> Any:
    """Return the contents of a JSON file.

    Raises:
        PlainDataError: no plain file, too large, not JSON, nested too deep, a key twice, or text that is too
            long or steers a terminal.
    """
    try:
        return _checked(json.loads(_text(path), object_pairs_hook=_mapping))
    except (ValueError, RecursionError) as error:
        raise _unreadable(path, error) from error


def read_yaml(path: Path) -> Any:
    """Return the contents of a YAML file; errors are those of ``read_json``, and tags and anchors."""
    try:
        return _checked(yaml.load(_text(path), _PlainLoader))  # a SafeLoader
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise _unreadable(path, error) from error


def _text(path: Path) -> str:
    if path.is_symlink() or not path.is_file():
        raise PlainDataError("there is no such plain file (links are not followed)")
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise PlainDataError(f"it has {size} bytes, and {MOST_BYTES} are the most that is read")
    return path.read_text(encoding="utf-8")


def _unreadable(path: Path, error: Exception) -> PlainDataError:
    what = "it is nested too deep" if isinstance(error, RecursionError) else " ".join(str(error).split())
    return PlainDataError(f"{path} cannot be read: {what[:300]}; {_PARSED}")


def _checked(found: Any, depth: int = 0) -> Any:
    """Return what was read, after looking at all of it."""
    if depth > MOST_DEEP:
        raise RecursionError
    if isinstance(found, str):
        if len(found) > LONGEST_TEXT:
            raise PlainDataError(f"it has a text of {len(found)} letters, and {LONGEST_TEXT} are the most")
        if _STEERING.search(found):
            raise PlainDataError(f"it has the text {found[:40]!a}, which would steer a terminal")
    elif isinstance(found, dict):
        for name, value in found.items():
            _checked(name, depth)
            _checked(value, depth + 1)
    elif isinstance(found, list):
        for item in found:
            _checked(item, depth + 1)
    return found


def _mapping(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise PlainDataError(f"the key {next(n for n in names if names.count(n) > 1)!r} is there twice")
    return found


class _PlainLoader(yaml.SafeLoader):
    """Scalars, lists and mappings of text keys; no tags, no anchors, no key twice."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        event: Any = self.peek_event()
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            raise PlainDataError("it has anchors or aliases")
        if getattr(event, "tag", None) is not None:
            raise PlainDataError(f"it has the tag {event.tag!r}")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        return _mapping(
            [tuple(self.construct_object(part, deep=True) for part in pair) for pair in node.value]
        )
