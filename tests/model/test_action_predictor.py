"""The action predictor with teacher forcing: causal, windowed, answering to actions from the start."""

import pytest
import torch

from tests.model.worlds import redrawn
from worldjepa.model.action_predictor import ActionPredictor

CONDITIONS = pytest.mark.parametrize("conditioning", ["adaln", "tokens"])
SIZES = {"latent_dim": 12, "action_dim": 4, "grid": (2, 2), "dim": 24, "depth": 2, "num_heads": 2}


def draw(t=6, **settings):
    model = redrawn(ActionPredictor(**SIZES, **settings)).double()
    return model, torch.randn(2, t, 4, 12, dtype=torch.float64), torch.randn(2, t, 4, dtype=torch.float64)


@CONDITIONS
@pytest.mark.parametrize("window", [None, 1, 2])
def test_each_step_sees_the_past_within_its_reach(conditioning, window):
    """Two layers of window W reach 2 (W - 1) steps back; no later latent or action is seen."""
    model, latents, actions = draw(conditioning=conditioning, window=window)
    before = model(latents, actions)
    reach = 6 if window is None else 2 * (window - 1)
    for name, index in (("latents", 2), ("actions", 2)):
        changed = {"latents": latents.clone(), "actions": actions.clone()}
        changed[name][:, index] += 1
        moved = (model(**changed) - before).abs().amax(dim=(0, 2, 3)) > 1e-9
        assert moved.tolist() == [index <= i <= index + reach for i in range(6)], name


@CONDITIONS
def test_a_fresh_model_answers_to_actions(conditioning):
    torch.manual_seed(0)
    model = ActionPredictor(**SIZES, conditioning=conditioning)
    latents, actions = torch.randn(2, 3, 4, 12), torch.randn(2, 3, 4)
    change = (model(latents, actions) - model(latents, -actions)).abs().max()
    assert change > 1e-5


@CONDITIONS
def test_unknown_actions_are_the_null_action(conditioning):
    model, latents, actions = draw(conditioning=conditioning)
    known = torch.zeros(2, 6, dtype=torch.bool)
    whatever = torch.full_like(actions, torch.nan)
    torch.testing.assert_close(model(latents, whatever, known=known), model(latents))
    known[:, 3:] = True
    mixed = model(latents, actions, known=known)
    torch.testing.assert_close(mixed[:, :3], model(latents)[:, :3])
    assert (mixed[:, 3:] - model(latents)[:, 3:]).abs().amax(dim=(0, 2, 3)).min() > 1e-3


@CONDITIONS
def test_shifting_all_steps_in_time_changes_nothing(conditioning):
    """Rotary positions are relative: only distances in time count."""
    model, latents, actions = draw(conditioning=conditioning)
    before = model(latents, actions)
    rotary = model.rotary
    model.rotary = lambda steps: rotary(steps + 1000)
    torch.testing.assert_close(model(latents, actions), before, atol=1e-9, rtol=0)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"conditioning": "film"}, "conditioning must be one of adaln, tokens"),
        ({"rope": "round"}, "rope must be one of"),
        ({"window": 0}, "window must be 1"),
        ({"num_heads": 5}, "num_heads=5"),
    ],
)
def test_wrong_settings_are_refused(setting, words):
    with pytest.raises(ValueError, match=words):
        ActionPredictor(**SIZES | setting)
