"""The goals of a controller: whatever the caller has, as latents, kept until it changes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from worldjepa.planning.history import as_clips
from worldjepa.planning.observing import Observer

if TYPE_CHECKING:
    from worldjepa.planning.world import World


class Goals:
    """Goals of ``b`` environments.

    A goal is None, a callable on futures, pictures, latents ``[b p d]``, measured states ``[b q]``, or a list
    of pictures or latents: sub-goals. Only rows that differ from what came before are encoded. Sub-goals are
    passed one after the other: each when the present latent is nearer to it than ``subgoal_share`` of its
    distance from the next one.
    """

    def __init__(self, model: World, pixels: str | None, batch: int, subgoal_share: float):
        self._model, self._observer, self._batch, self._share = model, Observer(pixels), batch, subgoal_share
        self._whole: Any = None  # a goal that is passed on as it is
        self._given: list[Tensor] = []
        self._values: list[Tensor] = []
        self._passed: Int[Tensor, " b"] | None = None  # how many of a list of sub-goals

    def update(self, goal: Any) -> Bool[np.ndarray, " b"]:
        """Take in the goal of this step; return which rows have another one than before."""
        if goal is None or (callable(goal) and not isinstance(goal, Tensor)):
            changed = np.full(self._batch, bool(self._given) or goal is not self._whole)
            self._whole, self._given, self._passed = goal, [], None
            return changed
        if isinstance(goal, list | tuple) and not goal:
            raise ValueError("a list of sub-goals must hold at least one; pass None where there is no goal")
        several = isinstance(goal, list | tuple) and not np.isscalar(goal[0])
        parts = [self._read(part) for part in (goal if several else [goal])]
        same = [(part.shape, part.dtype) for part in parts] == [(old.shape, old.dtype) for old in self._given]
        changed = torch.ones(self._batch, dtype=torch.bool)
        if same and several == (self._passed is not None):
            pairs = zip(parts, self._given, strict=True)
            changed = torch.stack([(new != old).flatten(1).any(dim=1).cpu() for new, old in pairs]).any(dim=0)
        else:
            self._values = []
        if changed.any():
            self._renew(parts, changed, several)
        return changed.numpy()

    def restart(self, mask: Bool[np.ndarray, " b"]) -> None:
        """Begin again with the first sub-goal in the rows of ``mask``: a new episode."""
        if self._passed is not None:
            rows = torch.from_numpy(np.flatnonzero(mask)).to(self._passed.device)
            self._passed = self._passed.index_fill(0, rows, 0)

    def of(self, rows: Sequence[int], latents: Float[Tensor, "r p d"]) -> Any:
        """Return the goals of ``rows`` for a cost; ``latents`` say where these rows are now."""
        if not self._given:
            return self._whole
        chosen = torch.tensor(rows, device=self._values[0].device)
        if self._passed is None:
            return self._values[0][chosen]
        return self._next_subgoal(chosen, latents)

    def _renew(self, parts: list[Tensor], changed: Bool[Tensor, " b"], several: bool) -> None:
        """Encode the goals of rows that changed, and keep the others'."""
        encoded = [self._encode(part[changed.to(part.device)]) for part in parts]
        if not self._values:
            self._values = [value.new_zeros(self._batch, *value.shape[1:]) for value in encoded]
        rows = changed.nonzero()[:, 0].to(encoded[0].device)
        self._values = [old.index_copy(0, rows, new) for old, new in zip(self._values, encoded, strict=True)]
        self._given, self._whole = [part.clone() for part in parts], None
        if not several:
            self._passed = None
            return
        if any(value.ndim != 3 for value in encoded):
            raise ValueError(
                "sub-goals must be pictures or latents [b p d]; give one measured state at a time"
            )
        if self._passed is None:
            self._passed = torch.zeros(self._batch, dtype=torch.long, device=rows.device)
        self.restart(changed.numpy())

    def _next_subgoal(self, rows: Tensor, latents: Float[Tensor, "r p d"]) -> Float[Tensor, "r p d"]:
        """Return the sub-goals that ``rows`` are to reach now, passing those that they have reached."""
        assert self._passed is not None
        goals, places = torch.stack(self._values)[:, rows], torch.arange(len(rows), device=rows.device)
        passed = self._passed[rows]
        following = (passed + 1).clamp_max(len(goals) - 1)
        now, then = goals[passed, places], goals[following, places]
        passed = torch.where(_distance(latents, now) <= self._share * _distance(now, then), following, passed)
        self._passed = self._passed.index_copy(0, rows, passed)
        return goals[passed, places]

    def _read(self, goal: Any) -> Tensor:
        """Return a goal with one row an environment: pictures in uint8, latents or states in float."""
        if isinstance(goal, Tensor) and goal.is_floating_point():
            value = goal
        elif not hasattr(goal, "keys") and np.asarray(goal).dtype.kind in "fi" and np.ndim(goal) <= 3:
            value = torch.from_numpy(np.asarray(goal, np.float32))
        else:
            goal = goal.numpy() if isinstance(goal, Tensor) else goal
            value = torch.from_numpy(np.array(self._observer.read(goal).frames))
        value = value[None] if value.ndim == 1 else value
        if value.ndim not in (2, 3, 4) or len(value) not in (1, self._batch):
            raise ValueError(
                f"a goal must be one for all environments or one for each of {self._batch}, got "
                f"{tuple(value.shape)}; expected pictures [b y x 3], latents [b p d] or states [b q]"
            )
        return value.expand(self._batch, *value.shape[1:])

    def _encode(self, goals: Tensor) -> Tensor:
        if goals.dtype != torch.uint8:
            return goals.to(self._model.device)
        frames = self._model.encoder.frames_per_step  # a goal does not move
        return self._model.encode(as_clips([[one.numpy()] * frames for one in goals], self._model))[:, 0]


def _distance(x: Float[Tensor, "r p d"], y: Float[Tensor, "r p d"]) -> Float[Tensor, " r"]:
    return (x.float() - y.float()).square().mean(dim=(1, 2)).sqrt()
