"""The entry point: our own errors become one line and an exit code, others keep their traceback."""

import sys
from types import ModuleType

import pytest

from worldjepa.settings.schema import ConfigError, convert
from worldjepa.train import main


def stages_that(action) -> ModuleType:
    module = ModuleType("worldjepa.stages")
    module.run_training = lambda config, argv: action(config, argv)  # type: ignore[attr-defined]
    return module


def ours(config, argv):
    convert(int, "ten", "train.steps")


def theirs(config, argv):
    int("ten")


def full_disk(config, argv):
    code = compile("raise OSError('the disk is full')", "artifact", "exec")
    exec(code, {"__name__": "worldjepa.artifact"})


def test_training_gets_the_settings_and_its_code_is_returned(monkeypatch: pytest.MonkeyPatch):
    seen = []
    monkeypatch.setitem(sys.modules, "worldjepa.stages", stages_that(lambda *got: seen.append(got) or 7))
    words = ["+experiment=kinetics", "train.steps=3"]
    assert main(words) == 7
    assert (seen[0][0].train.steps, seen[0][1]) == (3, words)


@pytest.mark.parametrize(
    ("action", "code", "line"),
    [
        (ours, 2, "worldjepa.train: train.steps: expected a whole number, got 'ten'\n"),
        (full_disk, 1, "worldjepa.train: the disk is full\n"),
    ],
)
def test_our_errors_are_one_line(
    action, code: int, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setitem(sys.modules, "worldjepa.stages", stages_that(action))
    assert main(["+experiment=kinetics"]) == code
    assert capsys.readouterr().err == line


def test_faults_keep_their_traceback(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "worldjepa.stages", stages_that(theirs))
    with pytest.raises(ValueError, match="invalid literal") as caught:
        main(["+experiment=kinetics"])
    assert not isinstance(caught.value, ConfigError)


def test_a_mistake_never_reaches_training(capsys: pytest.CaptureFixture[str]):
    assert main(["+experiment=imagefolder"]) == 2
    assert "set data.root=FOLDER" in capsys.readouterr().err
