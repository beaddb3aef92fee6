"""When a goal is reached, and the intervals of shares."""

import numpy as np
import pytest

from worldjepa.evaluation.success import Share, Success


def test_every_key_has_to_come_close():
    success = Success({"place": 5.0, "angle": 0.1})
    goal = {"place": np.array([3.0, 4.0]), "angle": 1.0}
    near = {"place": np.array([0.1, 0.1]), "angle": np.float32(1.05)}
    assert success.reached(near, goal)
    assert not success.reached(near | {"place": np.zeros(2)}, goal)  # exactly 5 away
    assert not success.reached(near | {"angle": 1.2}, goal)
    assert success.words() == "place within 5 and angle within 0.1"


def test_without_tolerances_the_environment_decides():
    assert Success().reached({"is_success": True}, {})
    assert not Success().reached({"success": np.False_, "is_success": True}, {})
    with pytest.raises(ValueError, match=r"no flag success.*plan.success=\{KEY: TOLERANCE\} \(info has x\)"):
        Success().reached({"x": 1.0, "name": "a"}, {})


def test_a_key_that_holds_no_numbers_is_named():
    with pytest.raises(ValueError, match="no numbers under 'y'; info has x"):
        Success({"y": 1.0}).reached({"x": 1.0}, {"x": 1.0})


def test_a_share_with_its_wilson_interval():
    """8 of 10: centre (0.8 + z^2/20) / (1 + z^2/10) with z = 1.96."""
    found = Share.of([True] * 8 + [False] * 2).to_dict()
    assert (found["success_rate"], found["episodes"]) == (0.8, 10)
    assert found["wilson_low"] == pytest.approx(0.49016, abs=1e-5)
    assert found["wilson_high"] == pytest.approx(0.94331, abs=1e-5)
    assert Share.of([]).rate == 0
