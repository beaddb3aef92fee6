"""From observations to actions: model predictive control of any number of environments at once.

The only part of planning that remembers anything. An action block of the plan is one latent step; its actions
are handed out one by one, and after ``replan_every`` blocks the next plan is made from where the last one
ended.
"""

from __future__ import annotations

import inspect
import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from worldjepa.planning.control_space import ControlSpace
from worldjepa.planning.costs import rollout_cost
from worldjepa.planning.distribution import shift, widen
from worldjepa.planning.goal_costs import Cost, goal_l2
from worldjepa.planning.goals import Goals
from worldjepa.planning.history import Clock, Context, Track, gather, truths
from worldjepa.planning.observing import Observed, Observer
from worldjepa.seeding import derive_seed
from worldjepa.types import ActionDist, Plan

if TYPE_CHECKING:
    from worldjepa.planning.world import World

logger = logging.getLogger(__name__)

Planner = Callable[..., Plan]


@dataclass(frozen=True)
class Planned:
    """The last plan made: for which environments, from which context, toward what, and in how long."""

    rows: tuple[int, ...]
    plan: Plan
    context: Context
    goal: Any
    milliseconds: float


class MPCController:
    """Plan with a world model and act.

    Args:
        model: a world model with an action predictor, in eval mode.
        planner: a function such as ``cem`` or ``functools.partial(cem, iterations=10)``; of your own, called
            as ``planner(cost_fn, init, bounds=(low, high), generator=[one a row])``, for discrete spaces with
            ``sizes=`` in place of ``bounds=``, under a time budget also with ``time_budget_s=``.
        action_space: of one environment or of a vector environment: Box, Discrete or MultiDiscrete.
        horizon: plan steps (action blocks).
        replan_every: action blocks carried out of each plan.
        history: how many latent steps of the past the model sees; keep past and horizon together within what
            it was trained on.
        cost: what is minimised, see ``costs``.
        bounds: (low, high) of one environment's action, where the Box has none.
        pixels: key of the picture in a Dict observation.
        proprioception: keys of the measured state in a Dict observation, as it was recorded.
        warm_start: with what share of its first spread a plan begins that continues an earlier one; None:
            each begins anew.
        subgoal_share: a sub-goal is reached within this share of its latent distance from the next one.
        time_budget_s: for encoding and planning together; an anytime planner returns the best plan so far.
        max_rollouts: how many futures are predicted at once (memory).
        precision: of the model's matrix products: fp32 or bf16 (autocast; costs stay in float32).
        seed: of the planner's samples; each environment has a stream of its own.

    Raises:
        ValueError: a model without actions, settings out of range, or a space, planner and model that do not
            fit together.
    """

    def __init__(
        self,
        model: World,
        planner: Planner,
        *,
        action_space: gymnasium.Space,
        horizon: int = 5,
        replan_every: int = 1,
        history: int = 1,
        cost: Cost = goal_l2,
        bounds: tuple[Any, Any] | None = None,
        pixels: str | None = None,
        proprioception: Sequence[str] = (),
        warm_start: float | None = 0.5,
        subgoal_share: float = 0.3,
        time_budget_s: float | None = None,
        max_rollouts: int | None = None,
        precision: str = "fp32",
        seed: int = 0,
    ):
        if model.predictor is None:
            raise ValueError(
                "the controller needs a model trained with actions; this one has no action predictor"
            )
        if precision not in ("fp32", "bf16"):
            raise ValueError(f"precision must be fp32 or bf16, got {precision!r}")
        if not 1 <= replan_every <= horizon or history < 1:
            raise ValueError(
                f"expected 1 <= replan_every <= horizon and history >= 1, got replan_every={replan_every}, "
                f"horizon={horizon}, history={history}"
            )
        if (warm_start is not None and not 0 <= warm_start < math.inf) or not subgoal_share > 0:
            raise ValueError(
                "expected warm_start None or 0 and more, and subgoal_share above 0, got "
                f"warm_start={warm_start} and subgoal_share={subgoal_share}"
            )
        self.model, self.planner, self.cost, self.horizon = model, planner, cost, horizon
        self.replan_every, self.history, self.warm_start = replan_every, history, warm_start
        self.time_budget_s, self.max_rollouts, self.seed = time_budget_s, max_rollouts, seed
        self.subgoal_share, self.precision = subgoal_share, precision
        block = model.action_block
        width = model.predictor.action_dim // block
        self.space = ControlSpace.of(action_space, width=width, action_block=block, bounds=bounds)
        _check_planner(planner, self.space)
        spec = self.space.spec
        self._idle = spec.carried_out(np.zeros((block, spec.dim), np.float32))
        self._clock = Clock.of(model, history)
        self._observer = Observer(pixels, tuple(proprioception) if _measures(model) else ())
        self.reset()

    def reset(self, mask: Any = None) -> None:
        """Forget the past of all environments, or of those in ``mask [b]`` whose episodes have ended.

        Call it before the first observation of the new episode is passed to ``act``: with a vector
        environment that resets in the step that ends an episode (``SameStep``), after that step; with one
        that resets in the step after (``NextStep``, Gymnasium's default), one step later. Without a mask the
        number of environments may change, and the random streams begin anew.
        """
        if mask is None:
            self.planned: Planned | None = None
            self._tracks: list[Track] = []
            return
        if not self._tracks:
            return  # nothing has been seen yet
        mask = truths("mask", mask, len(self._tracks))
        for row in np.flatnonzero(mask):
            self._tracks[row] = Track(self._clock)
        self._goals.restart(mask)

    @torch.no_grad()
    def act(self, observation: Any, goal: Any = None, active: Any = None) -> Any:
        """Return what ``env.step`` takes next.

        Args:
            observation: of one environment or of all: uint8 ``[y x 3]``, ``[b y x 3]``, or a Dict.
            goal: likewise; or latents ``[b p d]``, measured states ``[b q]``, a list of sub-goals, a
                callable on futures, or None where the cost needs none. One for all environments, or one for
                each.
            active: truth values ``[b]``: which environments still need plans (None: all). The others end
                what was begun, then stand still: the action nearest to zero, or the first choice.

        Raises:
            ValueError: observations, goals or ``active`` that cannot be read, of another number of
                environments than before, or a model in training mode. The same moment may then be passed
                again.
        """
        began = time.perf_counter()
        if self.model.training:
            raise ValueError("the model is in training mode; call model.eval() before planning with it")
        observed = self._observer.read(observation)
        if not self._tracks:
            self._begin(len(observed.frames))
        self._see(observed)
        for row in np.flatnonzero(self._goals.update(goal)):
            self._tracks[row].forget_plan()
        wanted = truths("active", [True] * len(self._tracks) if active is None else active, len(self._tracks))
        due = [row for row, track in enumerate(self._tracks) if not track.queue]
        if planned := [row for row in due if wanted[row]]:
            with torch.autocast(self.model.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
                self._plan(planned, began)
        for row in due:
            if not wanted[row]:
                self._tracks[row].stand_still(self._idle)
        return self.space.to_env(np.stack([track.take() for track in self._tracks]), single=observed.single)

    def _begin(self, batch: int) -> None:
        self._tracks = [Track(self._clock) for _ in range(batch)]
        self._generators = [
            torch.Generator().manual_seed(derive_seed(self.seed, row)) for row in range(batch)
        ]
        self._goals = Goals(self.model, self._observer.pixels, batch, self.subgoal_share)

    def _see(self, observed: Observed) -> None:
        if len(observed.frames) != len(self._tracks):
            raise ValueError(
                f"got observations of {len(observed.frames)} environments, before of {len(self._tracks)}; "
                "call reset() when their number changes"
            )
        for row, (track, frame) in enumerate(zip(self._tracks, observed.frames, strict=True)):
            measured = observed.proprioception
            # copies: vector environments may write the next observation into the same memory
            track.see(frame.copy(), None if measured is None else measured[row].copy())

    def _plan(self, rows: list[int], began: float) -> None:
        """Plan for ``rows`` and queue the first blocks."""
        tracks = [self._tracks[row] for row in rows]
        context = gather(self.model, tracks, self.history)
        goal = self._goals.of(rows, context.latents[:, -1])
        cost_fn = rollout_cost(
            self.model, goal=goal, cost=self.cost, max_rollouts=self.max_rollouts, **vars(context)
        )
        settings = self.space.constraint(self.model.device)
        if self.time_budget_s is not None:
            settings["time_budget_s"] = max(0.0, self.time_budget_s - (time.perf_counter() - began))
        generators = [self._generators[row] for row in rows]
        plan = self.planner(cost_fn, self._init(tracks), generator=generators, **settings)
        self._queue(tracks, plan)
        self.planned = Planned(tuple(rows), plan, context, goal, 1e3 * (time.perf_counter() - began))

    def _init(self, tracks: Sequence[Track]) -> ActionDist:
        """Return where the planner begins: shifted from the last plan, or anew."""
        fresh = self.space.initial(self.horizon, self.model.device)
        starts = [fresh if track.dist is None else self._continued(track.dist, fresh) for track in tracks]
        fields = [name for name, value in vars(fresh).items() if value is not None]
        return ActionDist(**{name: torch.cat([getattr(one, name) for one in starts]) for name in fields})

    def _continued(self, dist: ActionDist, fresh: ActionDist) -> ActionDist:
        assert self.warm_start is not None
        sizes = self.space.constraint("cpu").get("sizes")
        return widen(shift(dist, steps=self.replan_every), fresh, self.warm_start, sizes)

    def _queue(self, tracks: Sequence[Track], plan: Plan) -> None:
        expected = (len(tracks), self.horizon, self.space.spec.dim * self.space.action_block)
        if plan.actions.shape != expected:
            raise ValueError(
                f"the planner returned actions {tuple(plan.actions.shape)}, expected [b l a] = {expected}"
            )
        if not bool(plan.cost.isfinite().all()):
            logger.warning("no candidate had a finite cost in %d of %d environments", *_hopeless(plan.cost))
        blocks = plan.actions[:, : self.replan_every].float().cpu().numpy()
        actions = blocks.reshape(len(tracks), -1, self.space.spec.dim)
        done = self.space.spec.carried_out(actions)
        fields = {name: value for name, value in vars(plan.dist).items() if value is not None}
        for row, track in enumerate(tracks):
            track.queue.extend(done[row])
            if self.warm_start is not None:
                track.dist = ActionDist(**{name: value[row : row + 1] for name, value in fields.items()})


def _hopeless(cost: Float[Tensor, " b"]) -> tuple[int, int]:
    return int((~cost.isfinite()).sum()), len(cost)


def _measures(model: World) -> bool:
    """Return whether the model's predictor reads proprioception."""
    return bool(getattr(model.predictor, "proprioception_dim", 0))


def _check_planner(planner: Planner, space: ControlSpace) -> None:
    """Raise ``ValueError`` if a planner for a box is given choices, or the other way round."""
    needed = "bounds" if space.spec.kind == "box" else "sizes"
    try:
        parameters = inspect.signature(planner).parameters.values()
    except (TypeError, ValueError):
        return  # callables without a signature are taken at their word
    takes = {one.name for one in parameters} | {"any" for one in parameters if one.kind == one.VAR_KEYWORD}
    if not takes & {needed, "any"}:
        hint = "cem" if needed == "bounds" else "categorical_cem"
        raise ValueError(
            f"the planner takes no {needed}=, which a {space.spec.kind} action space needs; use {hint} or "
            "another planner made for it"
        )
