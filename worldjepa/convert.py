"""``python -m worldjepa.convert SOURCE OUT``: published weights as a checkpoint folder of ours."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from worldjepa.answering import answer, log_plainly
from worldjepa.settings.convert import ConvertConfig
from worldjepa.settings.overrides import read_flags, read_words
from worldjepa.settings.schema import ConfigError, from_dict
from worldjepa.settings.usage import convert_usage


def main(argv: Sequence[str] | None = None) -> int:
    """Convert as the words of ``argv`` say, print what became of every tensor, return the exit code."""
    return answer("convert", argv, convert_usage, _read, _convert, shown=None)


def _read(argv: list[str]) -> tuple[str, str, ConvertConfig]:
    """Return what to read, the folder to write, and what the weights do not say."""
    command, words = read_flags(argv)
    if len(words) < 2 or any("=" in word for word in words[:2]):
        raise ConfigError("expected what to read and the folder to write: SOURCE OUT [name=value ...]")
    read_words(command, words[2:], ConvertConfig, {})
    return words[0], words[1], from_dict(dict(command.settings), ConvertConfig)


def _convert(asked: tuple[str, str, ConvertConfig]) -> int:
    # torch comes in only now: a wrong word was answered at once
    from worldjepa.conversion import convert_weights

    log_plainly()
    source, out, settings = asked
    report = convert_weights(source, out, settings)
    sys.stdout.write("\n".join([*report.lines(), f"written: {out}", ""]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
