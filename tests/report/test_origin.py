"""The command that makes a run again: found, tried, and as short as it can be."""

import shlex
from dataclasses import replace

import pytest

from worldjepa.config import TrainConfig
from worldjepa.report.origin import trace
from worldjepa.settings.compose import compose, fill
from worldjepa.settings.schema import to_dict


def stored(*words: str, kind: str = "cpu") -> TrainConfig:
    """Return the settings that a run of these words stores."""
    return fill(compose(words), words, kind)[0]


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (["+experiment=kinetics"], "cpu"),
        (["+experiment=kinetics", "run.dir=a b", "seed=3", "masking.mine={strategy: future}"], "cpu"),
        (["+experiment=two_rooms", "objective=ema", "data.root=it's", "plan.horizon=3"], "cpu"),
        (["+experiment=kinetics", "model=large", "data.fps=4", "train.batch_size=8"], "gpu"),
        (["+experiment=gym", "env.id=CartPole-v1", "env.kwargs={sutton_barto_reward: true}"], "cpu"),
        (["+experiment=two_rooms", "~objective.weights.pixels", "model.heads=[]"], "cpu"),
    ],
)
def test_the_command_found_gives_the_same_settings(words: list[str], kind: str):
    config = stored(*words, kind=kind)
    found = trace(config)
    assert found.exact and found.kind == kind
    typed = shlex.split(found.command)
    assert typed[:3] == ["python", "-m", "worldjepa.train"]
    assert to_dict(stored(*typed[3:], kind=kind)) == to_dict(config)


def test_only_what_differs_is_said():
    found = trace(stored("+experiment=kinetics", "seed=3", "optim.lr=1e-3"))
    assert found.words == ["+experiment=kinetics", "seed=3", "optim.lr=0.001"]
    assert [(one.name, one.value) for one in found.differences] == [("seed", 3), ("optim.lr", 0.001)]


def test_what_the_episodes_say_is_not_asked_for():
    config = stored("+experiment=two_rooms")
    adopted = replace(config, model=replace(config.model, action_dim=2, proprioception_dim=0))
    assert trace(adopted).words == ["+experiment=two_rooms"]


def test_an_experiment_of_others_is_said_to_be_unknown():
    found = trace(replace(stored("+experiment=kinetics"), experiment="mine"))
    assert not found.exact and found.experiment is None
    assert found.words[:2] == ["--config-dir=FOLDER", "+experiment=mine"]
