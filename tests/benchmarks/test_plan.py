"""The planning benchmark: what it times is a plan, it refuses where precisions differ, its tables add up."""

from dataclasses import replace

import pytest
import torch

from benchmarks import plan
from benchmarks.public_planner import PARTS, Task, Watched

TINY = Task(samples=12, elites=3, horizon=2, iterations=2, image=28, encoder_depth=1, depth=1, dim=24)


class Stranger(Watched):
    """Stands in for the public planner where nothing is timed."""

    def __init__(self):
        self.parameters, self.predicted = (3_000_000, 1_000_000), 2


@pytest.fixture(scope="module")
def ours():
    return plan.make_ours(TINY, "cpu")


def test_both_precisions_pass_the_check_and_parts_add_up_to_the_whole(ours):
    plan.check(ours, {})
    assert list(ours) == ["worldjepa float32", "worldjepa bf16"]
    for way in ours.values():
        found = way.milliseconds()
        assert found["whole"] == pytest.approx(sum(found[part] for part in (*PARTS, "rest")))
        assert found["planner"] == pytest.approx(found["whole"] - found["encode"])
        assert dict(way.calls) == {"encode": 1, "rollout": TINY.iterations, "cost": TINY.iterations}
        assert way.plan().elite_cost.shape == (1, TINY.iterations)


def test_no_figure_where_precisions_differ(ours, monkeypatch):
    rollout = ours["worldjepa bf16"].model.rollout
    monkeypatch.setattr(ours["worldjepa bf16"].model, "rollout", lambda *given: 1.1 * rollout(*given))
    with pytest.raises(ValueError, match=r"worldjepa bf16 predicts .* of the largest latent away"):
        plan.check(ours, {})


def test_the_same_weights_are_timed_in_both_precisions(ours):
    first, second = (way.model.state_dict() for way in ours.values())
    assert first.keys() == second.keys()
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_tables_name_every_way_and_take_ratios_within_a_round(ours):
    times = {
        "public": {part: [8.0, 12.0] for part in ("whole", "planner", *PARTS, "rest")},
        "worldjepa float32": {part: [4.0, 4.0] for part in ("whole", "planner", *PARTS, "rest")},
        "worldjepa bf16": {part: [2.0, 3.0] for part in ("whole", "planner", *PARTS, "rest")},
    }
    text, figures = plan.report(ours, {"public": Stranger()}, times)
    assert "| public | 2 | 3.0, 1.0 | 10 ms | 10 ms |" in text
    assert figures["worldjepa float32"]["times_faster"]["public"]["whole"] == (2.25, 2.5, 2.75)
    assert figures["worldjepa bf16"]["times_faster"]["public"]["planner"] == (4, 4, 4)


def test_a_batch_is_counted_by_the_environment(ours):
    many = plan.make_ours(replace(TINY, envs=2), "cpu")
    times = plan.compare(many, rounds=1)
    assert many["worldjepa bf16"].plan().cost.shape == (2,)
    one = {name: {part: [10.0] for part in parts} for name, parts in times.items()}
    times = {name: {part: [12.0] for part in parts} for name, parts in times.items()}
    text, figures = plan.batch_report(2, one, times)
    assert "| worldjepa bf16 | 10 | 6 | 10 | 6 |" in text
    assert figures["worldjepa bf16"] == {"whole": (10.0, 6.0), "planner": (10.0, 6.0)}
