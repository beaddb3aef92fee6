"""Whether the settings of planning, and of judging plans, make sense. No torch, no Gymnasium."""

from __future__ import annotations

from worldjepa.settings.planning import PROTOCOLS, PlanConfig, PlanningConfig
from worldjepa.settings.ranges import at_least, one_of, positive, require
from worldjepa.settings.schema import ConfigError
from worldjepa.settings.validate_env import check_env

PLANNERS = ("cem", "icem", "mppi", "gradient", "refined_cem", "random_shooting", "categorical_cem")
COSTS = ("goal_l1", "goal_l2", "goal_cosine")
REDUCTIONS = ("last", "mean", "smallest", "last_plus", "discounted")


def validate_plan(config: PlanConfig) -> None:
    """Raise ``ConfigError`` for the first setting of ``python -m worldjepa.plan`` that cannot be right."""
    at_least("seed", config.seed, 0)
    one_of("device", config.device, ("auto", "cpu", "cuda"), "; choose one GPU with CUDA_VISIBLE_DEVICES")
    one_of("data.layout", config.data.layout, ("auto", "episodes", "minari", "lerobot"))
    check_env(config.env)
    check_planning(config.plan)
    at_least("plan.episodes", config.plan.episodes, 1)


def check_planning(plan: PlanningConfig) -> None:
    """Raise ``ConfigError`` for a setting of ``plan`` out of range; of 0 episodes, training plans nothing."""
    _check_tasks(plan)
    if plan.planner is not None:
        one_of("plan.planner", plan.planner, PLANNERS)
    one_of("plan.cost", plan.cost, COSTS)
    one_of("plan.reduction", plan.reduction, REDUCTIONS)
    at_least("plan.reduction_weight", plan.reduction_weight, 0)
    for name in ("horizon", "history", "max_rollouts"):
        at_least(f"plan.{name}", getattr(plan, name), 1)
    blocks = f"1 to plan.horizon={plan.horizon} action blocks"
    require(1 <= plan.replan_every <= plan.horizon, "plan.replan_every", plan.replan_every, blocks)
    positive("plan.warm_start", plan.warm_start, "; for plans that begin anew set plan.warm_start=null")
    positive("plan.time_budget_s", plan.time_budget_s)
    if plan.precision is not None:
        one_of("plan.precision", plan.precision, ("fp32", "bf16"))


def _check_tasks(plan: PlanningConfig) -> None:
    one_of("plan.protocol", plan.protocol, tuple(PROTOCOLS))
    for name in plan.beside:
        one_of("plan.beside", name, tuple(PROTOCOLS))
    at_least("plan.episodes", plan.episodes, 0)
    at_least("plan.film", plan.film, 0)
    for name in ("goal_offset", "budget"):
        at_least(f"plan.{name}", getattr(plan, name), 1)
    for offset in plan.offsets:
        at_least("plan.offsets", offset, 1)
    for key, tolerance in plan.success.items():
        positive(f"plan.success.{key}", tolerance)
    expert = PROTOCOLS[plan.protocol].goals == "expert"
    if not expert and (plan.goal_offset is not None or plan.offsets):
        raise ConfigError(
            f"plan.protocol={plan.protocol}: its goals are of other episodes, so that plan.goal_offset and "
            "plan.offsets say nothing; choose plan.protocol=lewm, and this one by plan.beside"
        )
