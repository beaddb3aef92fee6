"""Settings of planning to planner, cost and controller."""

from __future__ import annotations

import inspect
import math
from functools import partial
from typing import Any

import gymnasium

from worldjepa import planning
from worldjepa.data.episodes.action_spec import action_spec
from worldjepa.planning import Cost, MPCController
from worldjepa.planning.controller import Planner
from worldjepa.planning.reductions import Reduction
from worldjepa.settings.planning import PlanningConfig
from worldjepa.settings.schema import ConfigError, did_you_mean

GIVEN = (
    "cost_fn",
    "init",
    "bounds",
    "sizes",
    "generator",
    "time_budget_s",
    "action_block",
)  # by the controller


def build_planner(settings: PlanningConfig, *, discrete: bool, action_block: int) -> Planner:
    """Return the planner that ``settings`` name, with its arguments.

    Raises:
        ConfigError: an argument that it does not have or of another kind, or a planner for the other kind of
            actions.
    """
    name = settings.planner or ("categorical_cem" if discrete else "icem")
    if discrete != (name == "categorical_cem"):
        kind, right = ("discrete", "categorical_cem") if discrete else ("continuous", "icem, cem, mppi, ...")
        raise ConfigError(f"plan.planner={name}: the actions are {kind}; choose {right}, or leave it out")
    function = getattr(planning, name)
    takes = {
        one.name: one.default
        for one in inspect.signature(function).parameters.values()
        if one.name not in GIVEN
    }
    for argument, value in settings.planner_settings.items():
        if argument not in takes:
            near = did_you_mean(argument, list(takes)) or f"; there are {', '.join(takes)}"
            raise ConfigError(f"plan.planner_settings.{argument}: {name} has no such argument{near}")
        _check_kind(argument, value, takes[argument])
    arguments = dict(settings.planner_settings)
    if "action_block" in inspect.signature(function).parameters:  # the noise runs over environment steps
        arguments["action_block"] = action_block
    return partial(function, **arguments)


def _check_kind(argument: str, value: Any, default: int | float) -> None:
    """Raise ``ConfigError`` if a planner's argument is not such a number as its default."""
    kinds, expected = (int, "a whole number") if isinstance(default, int) else ((int, float), "a number")
    if isinstance(value, bool) or not isinstance(value, kinds) or not math.isfinite(value):
        raise ConfigError(f"plan.planner_settings.{argument}={value}: expected {expected}, such as {default}")


def build_cost(settings: PlanningConfig) -> Cost:
    """Return the cost that ``settings`` name: a distance from the goal at each plan step, reduced to one."""
    weight = settings.reduction_weight
    reductions: dict[str, Reduction] = {
        "last": planning.last,
        "mean": planning.mean,
        "smallest": planning.smallest,
        "last_plus": planning.last_plus(weight),
        "discounted": planning.discounted(weight),
    }
    return partial(getattr(planning, settings.cost), reduce=reductions[settings.reduction])


def build_controller(
    settings: PlanningConfig,
    model: Any,
    *,
    space: gymnasium.Space,
    seed: int,
    proprioception: tuple[str, ...] = (),
) -> MPCController:
    """Return a controller for environments of the single action space ``space``.

    Its observations are dictionaries with ``pixels``, and with ``proprioception`` where the model measures.
    """
    planner = build_planner(
        settings, discrete=action_spec(space).kind != "box", action_block=model.action_block
    )
    return MPCController(
        model,
        planner,
        action_space=space,
        horizon=settings.horizon,
        replan_every=settings.replan_every,
        history=settings.history,
        cost=build_cost(settings),
        pixels="pixels",
        proprioception=proprioception,
        warm_start=settings.warm_start,
        time_budget_s=settings.time_budget_s,
        max_rollouts=settings.max_rollouts,
        precision=settings.precision or "fp32",
        seed=seed,
    )
