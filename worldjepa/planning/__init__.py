"""Planning: pure optimisers over a cost function, costs on latents, and the controller that acts."""

from worldjepa.planning.categorical import categorical_cem
from worldjepa.planning.controller import MPCController, Planned
from worldjepa.planning.costable import Costable, as_costable
from worldjepa.planning.costs import (
    action_penalty,
    constraint,
    proprioception_l2,
    reward_cost,
    rollout_cost,
    termination_cost,
    weighted,
    with_goal,
)
from worldjepa.planning.cross_entropy import cem, icem
from worldjepa.planning.descent import gradient, refined_cem
from worldjepa.planning.distribution import shift, widen
from worldjepa.planning.goal_costs import Cost, goal_cosine, goal_l1, goal_l2
from worldjepa.planning.path_integral import mppi
from worldjepa.planning.reductions import discounted, last, last_plus, mean, smallest, soon
from worldjepa.planning.search import CostFn
from worldjepa.planning.shooting import random_shooting
from worldjepa.types import ActionDist, Plan

__all__ = [
    "ActionDist",
    "Cost",
    "CostFn",
    "Costable",
    "MPCController",
    "Plan",
    "Planned",
    "action_penalty",
    "as_costable",
    "categorical_cem",
    "cem",
    "constraint",
    "discounted",
    "goal_cosine",
    "goal_l1",
    "goal_l2",
    "gradient",
    "icem",
    "last",
    "last_plus",
    "mean",
    "mppi",
    "proprioception_l2",
    "random_shooting",
    "refined_cem",
    "reward_cost",
    "rollout_cost",
    "shift",
    "smallest",
    "soon",
    "termination_cost",
    "weighted",
    "widen",
    "with_goal",
]
