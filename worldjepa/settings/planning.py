"""How a world model plans, and how its plans are judged."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional  # OmegaConf reads these at run time

from worldjepa.settings.env import EnvConfig
from worldjepa.settings.run import RunConfig


@dataclass(frozen=True)
class Protocol:
    """What is asked of a plan. ``goals``: expert (the recorded frame ``goal_offset`` environment steps after
    the start) or random (a recorded frame of another episode). ``budget``: environment steps allowed.
    """

    goals: str
    goal_offset: Optional[int]
    budget: int
    episodes: int


PROTOCOLS: dict[str, Protocol] = {
    "lewm": Protocol("expert", goal_offset=25, budget=50, episodes=50),  # arXiv:2603.19312
    "anywhere": Protocol("random", goal_offset=None, budget=100, episodes=50),
}


@dataclass
class PlanningConfig:
    """How a world model plans, and what judges it: ``protocol``, and in the same report those ``beside``.

    ``episodes``, ``goal_offset`` and ``budget`` change the protocol; ``offsets`` are further goal offsets to
    be tried. ``success``: keys of ``info`` and how close each has to come to its value at the goal, at any
    step of the budget (none: the environment's own flag). ``group``: the key of ``info`` that names kinds of
    tasks. ``past_end``: steps go on where the environment ends an episode (at a goal of its own, say), if it
    can bear that. ``oracle``: arguments of the environment that the perfect model runs in, such as smaller
    pictures.

    ``planner``: cem, icem, mppi, gradient, refined_cem, random_shooting or categorical_cem (left out: icem,
    or categorical_cem for discrete actions), ``planner_settings`` its arguments. ``cost``: goal_l1, goal_l2
    or goal_cosine at every plan step; ``reduction`` makes one number of them: last, mean, smallest, last_plus
    (each earlier step counts ``reduction_weight``) or discounted (by it). The rest is as in
    ``MPCController``; ``precision`` left out is that of training. ``film``: how many episodes are shown.
    """

    protocol: str = "lewm"
    beside: List[str] = field(default_factory=list)
    episodes: Optional[int] = None
    goal_offset: Optional[int] = None
    budget: Optional[int] = None
    offsets: List[int] = field(default_factory=list)
    success: Dict[str, float] = field(default_factory=dict)
    group: str = "group"
    past_end: bool = False
    oracle: Dict[str, Any] = field(default_factory=dict)
    planner: Optional[str] = None
    planner_settings: Dict[str, Any] = field(default_factory=dict)
    cost: str = "goal_l2"
    reduction: str = "last_plus"
    reduction_weight: float = 0.1
    horizon: int = 5
    replan_every: int = 1
    history: int = 1
    warm_start: Optional[float] = 0.5
    time_budget_s: Optional[float] = None
    max_rollouts: Optional[int] = None
    precision: Optional[str] = None
    film: int = 8


def plans_asked(plan: PlanningConfig) -> bool:
    """Tell whether training is to end with plans: it has to be known what success is."""
    return bool(plan.success) and plan.episodes != 0


@dataclass
class RecordedConfig:
    """Episodes to take starts and goals from (left out: those that the run held out of training)."""

    root: Optional[str] = None
    layout: str = "auto"


@dataclass
class PlanConfig:
    """Everything that ``python -m worldjepa.plan`` understands.

    What ``plan`` and ``env`` leave out is taken from the run (``run.dir``). ``seed`` draws the tasks and the
    planner's samples.
    """

    seed: int = 0
    device: str = "auto"
    run: RunConfig = field(default_factory=RunConfig)
    env: EnvConfig = field(default_factory=EnvConfig)
    data: RecordedConfig = field(default_factory=RecordedConfig)
    plan: PlanningConfig = field(default_factory=PlanningConfig)
