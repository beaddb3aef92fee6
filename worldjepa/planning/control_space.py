"""A controller's actions: what one environment takes, and the box or the choices of an action block."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces

from worldjepa.data.episodes.action_spec import CLOSING, ActionSpec, action_spec
from worldjepa.types import ActionDist, read_bounds


@dataclass(frozen=True)
class ControlSpace:
    """The actions of one environment and of a block of ``action_block`` of them, as planners see them."""

    space: gymnasium.Space
    spec: ActionSpec
    action_block: int
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()

    @classmethod
    def of(cls, space: gymnasium.Space, *, width: int, action_block: int, bounds: Any = None) -> ControlSpace:
        """Read a single or a batched action space.

        Args:
            space: Box, Discrete or MultiDiscrete, or the batch of them that a vector environment has.
            width: of one environment's action for the model, which tells the two apart.
            action_block: environment steps of a latent step.
            bounds: (low, high) of one environment's action, in place of a Box's own.

        Raises:
            ValueError: another space or width; a Box that is open on a side without ``bounds``.
        """
        spec = _single(space, width)
        if spec.kind != "box":
            return cls(space, spec, action_block)
        low, high = (spec.low, spec.high) if bounds is None else _given(bounds, width)
        if not np.isfinite([low, high]).all():
            raise ValueError(
                f"the action space {space} is open on a side: planners need finite bounds; pass bounds=(low, "
                f"high), for example the range of the recorded actions, or {CLOSING}"
            )
        return cls(space, spec, action_block, low, high)

    def constraint(self, device: Any) -> dict[str, Any]:
        """Return the planner's argument: ``bounds`` of a block, or ``sizes`` of its choices."""
        if self.spec.kind == "box":
            edges = (torch.tensor(edge * self.action_block, device=device) for edge in (self.low, self.high))
            return {"bounds": tuple(edges)}
        return {"sizes": self.spec.sizes * self.action_block}

    def to_env(self, vectors: np.ndarray, *, single: bool) -> Any:
        """Return actions ``[b width]`` of the model as ``env.step`` takes them."""
        actions, shape = self.spec.to_env(vectors), self.space.shape
        if single:
            return actions[0]
        # a batch of one cannot be told from a single space by its width
        of_one = bool(shape) and shape[0] == 1 and (len(shape) > 1 or self.spec.kind == "multi_discrete")
        return actions.reshape(shape) if of_one and len(actions) == 1 else actions

    def initial(self, horizon: int, device: Any) -> ActionDist:
        """Return where to look for one row's plan when nothing is known."""
        limits = self.constraint(device)
        if "bounds" in limits:
            return ActionDist.initial(limits["bounds"], batch=1, horizon=horizon)
        return ActionDist.uniform(limits["sizes"], batch=1, horizon=horizon, device=device)


def _given(bounds: Any, width: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    edges = [np.broadcast_to(np.asarray(edge, np.float32), (width,)) for edge in bounds]
    low, high = read_bounds((edges[0].copy(), edges[1].copy()))
    return tuple(low.tolist()), tuple(high.tolist())


def _single(space: gymnasium.Space, width: int) -> ActionSpec:
    """Return the spec of one environment's actions, which are ``width`` numbers for the model."""
    whole, one = action_spec(space), _one_of_batch(space)
    part = None if one is None else action_spec(one)
    # a Box of whole numbers is a batch of MultiDiscrete wherever it can be one
    if whole.dim == width and not (part and part.kind == "multi_discrete" and part.dim == width):
        return whole
    if part is not None and part.dim == width:
        return part
    raise ValueError(
        f"the action space {space} has {whole.dim} numbers for the model (a one-hot for each choice), and "
        f"the model was trained with actions of {width}; pass the space of the environment it was trained "
        "in, single or batched"
    )


def _one_of_batch(space: gymnasium.Space) -> gymnasium.Space | None:
    """Undo ``gymnasium.vector.utils.batch_space``; None if the space is no batch."""
    if isinstance(space, spaces.MultiDiscrete) and space.nvec.ndim == 1 and len(set(space.nvec)) == 1:
        return spaces.Discrete(int(space.nvec[0]), start=int(space.start[0]))
    if isinstance(space, spaces.MultiDiscrete) and space.nvec.ndim > 1:
        return spaces.MultiDiscrete(space.nvec[0], start=space.start[0])
    if not isinstance(space, spaces.Box) or not space.shape or not _repeats(space.low, space.high):
        return None
    low, high = space.low[0], space.high[0]
    if np.issubdtype(space.dtype, np.integer) and space.low.ndim > 1:
        # of MultiDiscrete, Gymnasium makes a Box of whole numbers
        low, high = low.astype(np.int64), high.astype(np.int64)
        return spaces.MultiDiscrete(high - low + 1, start=low)
    return spaces.Box(low, high, dtype=space.dtype.type)


def _repeats(*arrays: np.ndarray) -> bool:
    return all(bool((array == array[:1]).all()) for array in arrays)
