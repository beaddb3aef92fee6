"""Plans of fixed seeds: where one changes, figures measured before can no longer be reproduced."""

import pytest
import torch

from tests.planning.problems import BOUNDS, HORIZON, PLANNERS, generator, quadratic
from worldjepa.planning import ActionDist, categorical_cem

GOLDEN = {
    "cem": ([-0.0525, 2.4055, 0.8032, 0.4151, -0.8109, -2.0], 0.8028),
    "icem": ([-0.0131, 2.525, 0.8454, 0.5778, -0.6506, -2.0], 0.7944),
    "icem shrinking": ([-0.0547, 2.4536, 0.782, 0.4252, -0.6793, -2.0], 0.7781),
    "mppi": ([-0.0849, 2.4837, 0.8537, 0.4064, -0.7995, -2.0], 0.7931),
    "gradient": ([0.0, 1.2405, 0.2962, 0.3765, -0.295, -0.2453], 8.9973),
    "refined_cem": ([0.0045, 2.5243, 0.8207, 0.4178, -0.714, -2.0], 0.7699),
    "random_shooting": ([-0.3393, 2.9464, 0.9019, 0.2221, -0.5552, -1.9993], 1.1266),
}


@pytest.mark.parametrize("name", PLANNERS)
def test_golden_plans_of_a_box(name):
    init = ActionDist.initial(BOUNDS, batch=1, horizon=HORIZON)
    plan = PLANNERS[name][0](quadratic(1), init, bounds=BOUNDS, generator=generator(42), iterations=4)
    actions, cost = GOLDEN[name]
    torch.testing.assert_close(plan.actions.flatten(), torch.tensor(actions), atol=2e-3, rtol=0)
    torch.testing.assert_close(plan.cost, torch.tensor([cost]), atol=2e-3, rtol=0)


def test_a_golden_plan_of_choices():
    scores = torch.arange(10.0).reshape(2, 5).sin()
    init = ActionDist.uniform((3, 2), batch=1, horizon=2)
    plan = categorical_cem(
        lambda actions: (actions * scores).sum(dim=(-2, -1)),
        init,
        sizes=(3, 2),
        iterations=1,
        num_samples=20,
        num_elites=5,
        generator=generator(42),
    )
    assert plan.actions.flatten().tolist() == [1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    assert plan.dist.logits is not None
    shares = torch.tensor([0.7767, 0.0167, 0.2067, 0.405, 0.595, 0.9667, 0.0167, 0.0167, 0.405, 0.595])
    torch.testing.assert_close(plan.dist.logits.exp().flatten(), shares, atol=1e-4, rtol=0)
