"""How much of a world model's latents is kept to judge it by."""

import worldjepa
from worldjepa.outcome import dynamics


def test_wide_latents_are_judged_on_fewer_windows(monkeypatch):
    model = worldjepa.from_config("two_rooms", overrides=["model=micro"])
    assert model.predictor is not None
    assert dynamics._with_room(model, dynamics.PROBED) == dynamics.PROBED
    assert model.predictor.grid.p * model.predictor.latent_dim == 96
    monkeypatch.setattr(dynamics, "ROOM", 1000 * 4 * 96)
    assert dynamics._with_room(model, dynamics.PROBED) == 1000
