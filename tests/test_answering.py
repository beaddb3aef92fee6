"""What every command does with its words, tried on one that adds."""

from dataclasses import dataclass

import pytest

from worldjepa.answering import answer
from worldjepa.settings.schema import ConfigError


@dataclass
class Sum:
    one: int = 1
    other: int = 2


def compose(words: list[str]) -> tuple[Sum, list[str]]:
    if "wrong" in words:
        raise ConfigError("wrong: there is no such setting")
    return Sum(other=len(words)), words


def work(asked: tuple[Sum, list[str]]) -> int:
    if "interrupted" in asked[1]:
        raise KeyboardInterrupt
    return asked[0].one + asked[0].other


def ask(*words: str, shown=lambda asked: asked[0]) -> int:
    return answer("add", words, lambda: "usage: add", compose, work, shown=shown, interrupted="go on")


@pytest.mark.parametrize(
    ("words", "code", "out", "err"),
    [
        (["a", "b"], 3, "", ""),
        (["wrong", "--help"], 0, "usage: add\n", ""),
        (["a", "--cfg"], 0, "one: 1\nother: 2\n", ""),
        (["wrong", "--cfg"], 2, "", "worldjepa.add: wrong: there is no such setting\n"),
        (["--halp"], 2, "", "worldjepa.add: --halp: there is no such option (--help, --cfg, --config-dir)\n"),
        (["interrupted"], 130, "", "worldjepa.add: go on\n"),
    ],
)
def test_a_command_answers(words: list[str], code: int, out: str, err: str, capsys):
    assert ask(*words) == code
    assert tuple(capsys.readouterr()) == (out, err)


def test_a_command_without_cfg_does_its_work(capsys):
    assert ask("a", "--cfg", shown=None) == 3
    assert capsys.readouterr().out == ""


def test_words_are_those_of_the_process_unless_given(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sys.argv", ["add", "a", "b", "c"])
    assert answer("add", None, lambda: "", compose, work) == 4
