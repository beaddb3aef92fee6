"""``python -m worldjepa.convert SOURCE OUT``: published weights as a checkpoint folder of ours."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

from worldjepa.refusals import guarded, refuse
from worldjepa.settings.convert import ConvertConfig
from worldjepa.settings.overrides import read_flags, read_words
from worldjepa.settings.schema import ConfigError, from_dict
from worldjepa.settings.usage import convert_usage


def main(argv: Sequence[str] | None = None) -> int:
    """Convert as the words of ``argv`` say, print what became of every tensor, return the exit code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    try:
        command, words = read_flags(argv)
        if command.help:
            sys.stdout.write(convert_usage() + "\n")
            return 0
        if len(words) < 2 or any("=" in word for word in words[:2]):
            raise ConfigError("expected what to read and the folder to write: SOURCE OUT [name=value ...]")
        read_words(command, words[2:], ConvertConfig, {})
        asked = from_dict(dict(command.settings), ConvertConfig)
    except ConfigError as error:
        return refuse("convert", error, 2)
    return guarded("convert", lambda: _convert(words[0], words[1], asked))


def _convert(source: str, out: str, asked: ConvertConfig) -> int:
    # torch comes in only now: a wrong word was answered at once
    from worldjepa.conversion import convert_weights

    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stdout)
    report = convert_weights(source, out, asked)
    sys.stdout.write("\n".join([*report.lines(), f"written: {out}", ""]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
