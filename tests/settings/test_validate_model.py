"""What settings of world models are refused, and what the refusal says would do."""

import pytest

from worldjepa.config import TrainConfig
from worldjepa.settings.compose import compose, fill
from worldjepa.settings.schema import ConfigError, from_dict
from worldjepa.settings.validate import validate

ENCODER = {"attention": "step", "tubelet_size": 1, "projector": {"pool": "flatten"}}


def settings(weights=None, objective=None, data=None, **model):
    terms = {"prediction": 1.0, "rollout": 1.0} | (weights or {})
    return from_dict(
        {
            "data": {"num_frames": 6, "size": 64} | (data or {}),
            "model": {"encoder": ENCODER, "action_dim": 2} | model,
            "objective": {"kind": "dynamics", "weights": terms} | (objective or {}),
        },
        TrainConfig,
    )


def test_a_world_models_settings_pass():
    validate(settings())
    validate(settings(objective={"rollout_steps": 5}))
    validate(settings(weights={"reward": 1.0}, heads=["reward"]))
    validate(
        settings(
            frozen="timm/vit_small_patch14_dinov2.lvd142m", data={"size": 224}, encoder={"attention": "step"}
        )
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"weights": {"inverse_dynamic": 1.0}}, "did you mean inverse_dynamics?"),
        ({"weights": {"consistency": 1.0}}, "no such loss term with objective.kind=dynamics"),
        ({"weights": {"reward": 1.0}}, r"set model.heads=\[reward\] as well"),
        ({"heads": ["pixels"]}, "set objective.weights.pixels=1 as well"),
        ({"heads": ["rewards"]}, "did you mean reward?"),
        ({"objective": {"rollout_steps": 6}}, "set objective.rollout_steps=5, or data.num_frames=7"),
        ({"objective": {"kind": "dynamic"}}, "did you mean dynamics?"),
        ({"objective": {"null_actions": 1.5}}, "a share from 0 to 1"),
        ({"data": {"num_frames": 1}}, "needs two latent steps"),
        ({"data": {"layout": "csv"}}, "expected one of auto, episodes, minari, lerobot"),
        ({"encoder": {"attention": "full"}}, "set model.encoder.attention=step"),
        ({"encoder": {"attention": "step"}, "action_block": 5}, "set model.action_block=4, or"),
        ({"encoder": ENCODER | {"projector": {"pool": "max"}}}, "expected one of none, flatten, mean"),
        ({"target": "emma"}, "did you mean ema?"),
        ({"predictor": {"conditioning": "film"}}, "expected one of adaln, tokens"),
        ({"predictor": {"dim": 24, "num_heads": 6}}, "set model.predictor.num_heads=4"),
        ({"frozen": "runs/kinetics"}, "would never be trained on a frozen encoder"),
        (
            {
                "frozen": "runs/kinetics",
                "encoder": {"attention": "step", "tubelet_size": 1},
                "weights": {"sigreg": 0.1},
            },
            "leave out sigreg",
        ),
        ({"frozen": "timm/hf-hub:someone/model"}, "expected a plain name"),
    ],
)
def test_what_cannot_work_is_refused_with_what_would(changes, said):
    with pytest.raises(ConfigError, match=said):
        validate(settings(**changes))


def test_masked_pretraining_refuses_what_only_world_models_have():
    for changes, said in (
        ({"weights": {"prediction": 1.0, "rollout": 1.0}}, "no such loss term with objective.kind=masked"),
    ):
        with pytest.raises(ConfigError, match=said):
            validate(from_dict({"objective": changes}, TrainConfig))
    for model in ({"frozen": "runs/x"}, {"heads": ["reward"]}, {"encoder": {"projector": {"pool": "mean"}}}):
        with pytest.raises(ConfigError, match=r"objective\.kind=dynamics"):
            validate(from_dict({"model": model}, TrainConfig))


@pytest.mark.parametrize("recipe", ["sigreg", "ema", "frozen"])
def test_the_recipes_compose_and_are_chosen_by_a_word(recipe):
    words = ["+experiment=kinetics", f"objective={recipe}", "objective.rollout_steps=3", "data.num_frames=4"]
    if recipe == "frozen":
        words.append("model.frozen=timm/resnet18")
    config, _ = fill(compose(words), words, "cpu")
    assert config.objective.kind == "dynamics" and config.objective.rollout_steps == 3
    assert ("sigreg" in config.objective.weights) == (recipe != "frozen")
    assert (config.model.target == "none") == (recipe == "sigreg")
