"""The rollout benchmark: its ways agree, it refuses when they do not, its tables say what was measured."""

import argparse

import pytest
import torch

from benchmarks import rollout
from benchmarks.rollout import BASELINE, WAYS, Case


def test_both_ways_predict_the_same_and_every_round_is_kept():
    times = rollout.measure(Case(3, 4, 2, 3), rounds=2, clock="cpu")
    assert list(times) == list(WAYS)
    assert {len(spent) for spent in times.values()} == {2}
    table, figures = rollout.report(Case(3, 4, 2, 3), times)
    assert figures[BASELINE]["times_faster"] == [1.0, 1.0, 1.0]
    assert table.count("\n") == 2 + 1 + len(WAYS)


def test_no_figure_where_the_ways_differ(monkeypatch):
    way, dtype = WAYS["cached float32"]
    monkeypatch.setitem(WAYS, "cached float32", (lambda model, case: way(model, case) + 1e-3, dtype))
    with pytest.raises(ValueError, match=r"cached float32 is .* of the largest latent from"):
        rollout.measure(Case(2, 1, 2, 2), rounds=1, clock="cpu")


def test_running_it_all_again_is_what_the_predictor_says():
    case = Case(2, 1, 3, 2)
    model = case.predictor()
    latents, past, actions = case.inputs()
    with torch.no_grad():
        found = rollout.recomputed(model, case)
        taken = torch.cat([past.expand(3, -1, -1), actions[0, :, :1]], dim=1)
        first = rollout.norm(model(latents.expand(3, -1, -1, -1), taken))
    torch.testing.assert_close(found[:, 0], first[:, -1])


@pytest.mark.parametrize("text", ["8:16:64", "8:16:64:0", "a:1:1:1"])
def test_a_case_that_is_none_is_refused(text):
    with pytest.raises(argparse.ArgumentTypeError, match="context:tokens:candidates:horizon"):
        Case.parse(text)
