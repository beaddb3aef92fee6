"""Stored settings: data that is checked, and what of it changes a run's weights."""

import pytest

from worldjepa.settings.compose import compose
from worldjepa.settings.schema import ConfigError, changed_settings, from_dict, to_dict

KINETICS = "+experiment=kinetics"


def test_changed_settings_names_what_changes_the_weights():
    old = compose([KINETICS, "masking=vjepa2"])
    words = ["train.checkpoint_every=7", "run.dir=elsewhere", "device=cpu", "data.num_workers=3"]
    assert changed_settings(old, compose([KINETICS, "masking=vjepa2", *words])) == []
    words = ["seed=1", "optim.ema=[0.9,1.0]", "masking.more={strategy: future}", "~masking.large_blocks"]
    changed = changed_settings(old, compose([KINETICS, "masking=vjepa2", *words]))
    assert changed == ["seed", "masking.large_blocks", "masking.more", "optim.ema"]
    assert changed_settings(from_dict(to_dict(old)), old) == []


def test_stored_settings_are_checked_and_never_acted_on():
    stored = to_dict(compose([KINETICS]))
    for change, said in [
        ({"optim": {"lrr": 1}}, "optim.lrr"),
        ({"seed": "0"}, "seed: expected a whole number"),
        ({"_target_": "os.system"}, "_target_"),
        ({"model": {"_target_": "os.system"}}, "_target_"),
        ({"data": None}, "data: expected a mapping"),
    ]:
        with pytest.raises(ConfigError, match=said):
            from_dict(stored | change)
    older = {name: value for name, value in stored.items() if name != "objective"}
    assert from_dict(older) == from_dict(stored), "a setting that came later takes its default"
