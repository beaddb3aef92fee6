"""What a probe says of states: no figure where there is nothing to explain."""

import torch

from worldjepa.evaluation.findings import Figure
from worldjepa.outcome.probe_judge import r_squared, r_squared_note


def test_a_component_that_never_varies_has_no_share_explained():
    state = torch.stack([torch.arange(8.0), torch.full((8,), 0.1)], dim=1)
    found = r_squared(state.clone(), state, ("x", "speed"))
    assert list(found) == ["x"] and found["x"].value == 1.0
    assert r_squared_note("clips", {"encoder": found}, ("x", "speed")).endswith("left out: speed")


def test_the_note_is_silent_where_all_components_vary():
    assert "left out" not in r_squared_note("clips", {"encoder": {"x": Figure(0.5)}}, ("x",))
