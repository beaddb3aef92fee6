"""A world model as other people's planners ask for one: a cost of candidates, given an info dictionary.

The protocol is that of stable-worldmodel (``Costable`` in its ``protocols.py``): its solvers call
``get_cost(info, candidates)`` once an iteration, ``info`` being what its environments show, repeated for
every candidate. For example, on pictures as they are::

    solver = CEMSolver(as_costable(model), num_samples=300, n_steps=10)
    policy = WorldModelPolicy(solver, PlanConfig(horizon=5, receding_horizon=1, action_block=5))

Pictures need no transform: the model resizes and normalises them itself. Their solvers draw standard normal
actions and bound nothing; what the policy makes of them (``process["action"]``), the model has to be told.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from worldjepa.planning.costs import rollout_cost
from worldjepa.planning.goal_costs import Cost, goal_l2
from worldjepa.planning.search import CostFn
from worldjepa.planning.world import untrained
from worldjepa.types import read_bounds

if TYPE_CHECKING:
    from worldjepa.planning.world import World

ToEnv = Callable[[Any], Any]


def as_costable(
    model: World,
    *,
    cost: Cost = goal_l2,
    to_env: ToEnv | None = None,
    bounds: tuple[Any, Any] | None = None,
    max_rollouts: int | None = None,
) -> Costable:
    """Return what stable-worldmodel's solvers take as a model.

    Args:
        model: a world model with an action predictor, in eval mode.
        cost: what is minimised, see ``costs``.
        to_env: from the solver's actions ``[n width]`` of one environment step to the environment's units,
            such as ``scaler.inverse_transform`` of the policy's ``process["action"]`` (arrays or tensors; a
            solver that follows gradients needs one that takes tensors). None: they are in these units.
        bounds: (low, high) of one environment step's action, to which an environment clips what it is given.
        max_rollouts: how many futures are predicted at once (memory).

    Raises:
        ValueError: a model without actions, or bounds that do not fit them.
    """
    if model.predictor is None:
        raise ValueError("planning needs a model trained with actions; this one has no action predictor")
    width = model.predictor.action_dim // model.action_block
    edges = None if bounds is None else read_bounds(bounds)
    if edges is not None and len(edges[0]) != width:
        raise ValueError(
            f"bounds are {len(edges[0])} wide; one environment step's action has {width} numbers"
        )
    return Costable(model, cost, to_env, edges, max_rollouts)


class Costable:
    """The costs of a world model, by ``get_cost``; made by ``as_costable``.

    Context and goal are encoded when they differ from those of the call before, so once a plan. They are
    compared by value: nothing is written into the solver's dictionary. Of a model that has been trained on
    since, make another one.
    """

    def __init__(
        self,
        model: World,
        cost: Cost,
        to_env: ToEnv | None,
        bounds: tuple[Tensor, Tensor] | None,
        max_rollouts: int | None,
    ):
        self.model, self.cost, self.bounds, self.max_rollouts = model, cost, bounds, max_rollouts
        self.to_env = to_env
        self._seen: dict[str, Tensor] = {}
        self._cost_fn: CostFn | None = None

    def get_cost(self, info: Mapping[str, Any], candidates: Float[Tensor, "b s l a"]) -> Float[Tensor, "b s"]:
        """Return the cost of each candidate, differentiable in the candidates and in nothing else.

        Args:
            info: ``pixels`` (the frames so far, oldest first) and ``goal`` ``[b s f y x 3]`` or ``[b s f 3 y
                x]``, whole numbers in 0..255 or float in [0, 1]; of several latent steps also ``action``
                ``[b s f a]``, the block that leaves each of them in the candidates' units (the last one's is
                yet to come and not read; left out: unknown; of a row with NaN, what came before that is not
                read). Other keys are not read.
            candidates: action blocks that follow the last frame.

        Raises:
            ValueError: keys that are missing or hold something else, a model in training mode, or candidates
                of another width.
        """
        if self.model.training:
            raise ValueError("the model is in training mode; call model.eval() before planning with it")
        assert self.model.predictor is not None
        if candidates.shape[-1] != self.model.predictor.action_dim:
            raise ValueError(
                f"candidates are {candidates.shape[-1]} wide; an action block of this model has "
                f"{self.model.predictor.action_dim} numbers ({self.model.action_block} environment steps)"
            )
        seen = {name: _first(info[name]) for name in ("pixels", "goal", "action") if name in info}
        if self._cost_fn is None or not _same(seen, self._seen):
            self._cost_fn = self._read(seen)
            # copies: environments may write the next observation into the same memory
            self._seen = {name: value.clone() for name, value in seen.items()}
        with untrained(self.model):  # a solver calls backward() and clears only its own actions
            costs = self._cost_fn(self._in_env_units(candidates).to(self.model.device))
        return costs.to(candidates.device)

    criterion = get_cost  # the protocol's other name for it

    def _read(self, seen: Mapping[str, Tensor]) -> CostFn:
        """Encode context and goal."""
        frames, goal = _clip(seen, "pixels"), _clip(seen, "goal")
        goal = goal[:, -1:].repeat_interleave(self.model.encoder.frames_per_step, dim=1)  # it does not move
        # not as the solver's mode has it: what is kept may serve one that follows gradients
        with torch.inference_mode(False), torch.no_grad():
            latents = self.model.encode(frames)
            past, lengths = self._past(seen.get("action"), latents.shape[1])
            return rollout_cost(
                self.model,
                latents,
                self.model.encode(goal)[:, -1],
                cost=self.cost,
                past_actions=past,
                lengths=lengths,
                max_rollouts=self.max_rollouts,
            )

    def _past(
        self, actions: Tensor | None, t: int
    ) -> tuple[Float[Tensor, "b l a"] | None, Int[Tensor, " b"] | None]:
        """Return the blocks between ``t`` latents, if they are known, and how many last latents they join."""
        assert self.model.predictor is not None
        wanted = self.model.predictor.action_dim
        if t == 1 or actions is None or actions.ndim != 3 or actions.shape[-1] != wanted:
            return None, None
        past = self._in_env_units(actions[:, : t - 1].float())
        if past.shape[1] != t - 1:
            return None, None
        known = past.isfinite().all(dim=-1)
        joined = known.flip(1).long().cumprod(dim=1).sum(dim=1)
        past = torch.where(known.unsqueeze(-1), past, 0.0).to(self.model.device)
        return past, None if bool(known.all()) else (1 + joined).to(past.device)

    def _in_env_units(self, blocks: Float[Tensor, "*b a"]) -> Float[Tensor, "*b a"]:
        """Return blocks as the environment will carry them out."""
        if self.to_env is None and self.bounds is None:
            return blocks
        width = blocks.shape[-1] // self.model.action_block
        steps = blocks.unflatten(-1, (-1, width))
        if self.to_env is not None:
            flat = steps.reshape(-1, width)
            found = torch.as_tensor(self.to_env(flat if flat.requires_grad else flat.cpu()))
            steps = found.to(blocks).reshape(steps.shape)
        if self.bounds is not None:
            low, high = (edge.to(steps) for edge in self.bounds)
            steps = steps.clamp(low, high)
        return steps.flatten(-2)


def _first(value: Any) -> Shaped[Tensor, "..."]:
    """Return what all candidates of a row have in common."""
    value = torch.from_numpy(value) if isinstance(value, np.ndarray) else value
    if not isinstance(value, Tensor) or value.ndim < 2:
        raise ValueError(f"info must hold arrays [b s ..] of every candidate, got {type(value).__name__}")
    return value[:, 0]


def _same(new: Mapping[str, Tensor], old: Mapping[str, Tensor]) -> bool:
    def equal(x: Tensor, y: Tensor) -> bool:
        if x.shape != y.shape or x.dtype != y.dtype or x.device != y.device:
            return False
        return bool(((x == y) | ((x != x) & (y != y))).all())  # NaN stands for what is not known

    return new.keys() == old.keys() and all(equal(value, old[name]) for name, value in new.items())


def _clip(seen: Mapping[str, Tensor], name: str) -> Shaped[Tensor, "b f 3 y x"]:
    """Return the pictures of ``info``, channels first."""
    if name not in seen:
        raise ValueError(f"info has no {name!r}; it has to hold pixels and goal, pictures [b s f y x 3]")
    frames = seen[name]
    if frames.ndim != 5 or 3 not in (frames.shape[2], frames.shape[-1]):
        raise ValueError(
            f"info[{name!r}] must be pictures [b s f y x 3] or [b s f 3 y x], got [b ..] = "
            f"{tuple(frames.shape)} of a candidate"
        )
    return frames.movedim(-1, 2) if frames.shape[-1] == 3 else frames
