"""How every command answers its words: a page, settings, one line for a mistake, or its work. No torch."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import yaml

from worldjepa.refusals import guarded, refuse
from worldjepa.settings.overrides import read_flags
from worldjepa.settings.schema import ConfigError, to_dict

Asked = TypeVar("Asked")


def answer(
    program: str,
    argv: Sequence[str] | None,
    usage: Callable[[], str],
    compose: Callable[[list[str]], Asked],
    work: Callable[[Asked], int],
    *,
    shown: Callable[[Asked], Any] | None = lambda asked: asked,
    interrupted: str = "interrupted",
) -> int:
    """Answer the words of a command and return its exit code: 2 for a mistake of the caller's.

    Args:
        program: its name, which its lines of error begin with.
        argv: the words; None: those that the process was started with.
        usage: the page that ``--help`` prints.
        compose: what the words ask for; it raises ``ConfigError`` for a wrong one.
        work: does that. What is heavy it imports itself, so that a wrong word is answered at once.
        shown: the part of what is asked for that ``--cfg`` prints; None: the command has no ``--cfg``.
        interrupted: what an interruption of the work is answered with.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        flags = read_flags(words)[0]
        if flags.help:
            sys.stdout.write(usage() + "\n")
            return 0
        asked = compose(words)
        if flags.show and shown is not None:
            sys.stdout.write(yaml.safe_dump(to_dict(shown(asked)), sort_keys=False))
            return 0
    except ConfigError as error:
        return refuse(program, error, 2)
    return guarded(program, lambda: work(asked), interrupted=interrupted)


def log_plainly(level: int | None = None) -> None:
    """Log warnings as bare lines on standard output, and what worldjepa says from ``level`` on, if given."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stdout)
    if level is not None:
        logging.getLogger("worldjepa").setLevel(level)
