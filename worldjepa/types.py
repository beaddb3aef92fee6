"""The values that travel between rooms, and the axis legend used in every signature.

``b`` batch, ``f`` frame, ``t`` latent step, ``h w`` token grid, ``p`` = h*w tokens a latent step,
``n`` = t*p tokens, ``k`` kept, ``m`` masked (to be predicted), ``d`` width, ``c y x`` channel, rows,
columns, ``a`` action block width, ``s`` sampled candidate, ``l`` plan step or transition, ``q``
proprioception. Batch first, time second, features last.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor


class Grid(NamedTuple):
    """The token grid of a clip: ``t`` latent steps of ``h`` x ``w`` tokens.

    Token id ``i`` stands at ``(i // (h*w), i // w % h, i % w)``.
    """

    t: int
    h: int
    w: int

    @property
    def p(self) -> int:
        """Tokens in one latent step."""
        return self.h * self.w

    @property
    def n(self) -> int:
        """Tokens in the whole clip."""
        return self.t * self.h * self.w


@dataclass(frozen=True)
class Masks:
    """What the context encoder sees and what is to be predicted, as token ids.

    Both are sorted along the second axis and share no id within a row. ``k`` and ``m`` are equal for
    all rows of the global batch.
    """

    context: Int[Tensor, "b k"]
    target: Int[Tensor, "b m"]

    def rows(self, start: int, stop: int) -> Masks:
        """Return the masks of rows ``start`` to ``stop`` (a rank's or a micro-batch's share)."""
        return Masks(self.context[start:stop], self.target[start:stop])

    def to(self, device) -> Masks:
        """Return the masks on ``device``."""
        return Masks(self.context.to(device), self.target.to(device))


@dataclass(frozen=True)
class BadFile:
    """A file that could not be used, and why, as it is written to ``bad_files.jsonl``.

    ``sample``: the number of the sample from which on it counts as bad, where that is not the file's fault
    alone (it took too long).
    """

    path: str
    reason: str
    sample: int | None = None


@dataclass(frozen=True)
class Batch:
    """One step's clips of one rank.

    ``frames`` are RGB in display orientation at the training size. ``second`` is another clip of the
    same videos, there only when the objective compares two views. ``labels`` are -1 where unknown.
    ``paths`` names the file of each row; ``bad`` lists files met and replaced while drawing it.

    Windows of episodes also have ``actions`` (blocks in environment units; ``actions[:, i]`` leads from
    latent step i to i+1, so that there is one fewer than latent steps), ``rewards`` (the block's sum) and
    ``terminated`` of each transition, and at each latent step ``proprioception`` and the environment's true
    ``state``, where recorded (never shown to the model; probes read it).
    """

    frames: UInt8[Tensor, "b f c y x"]
    actions: Float[Tensor, "b l a"] | None = None
    rewards: Float[Tensor, "b l"] | None = None
    terminated: Bool[Tensor, "b l"] | None = None
    proprioception: Float[Tensor, "b t q"] | None = None
    state: Float[Tensor, "b t z"] | None = None
    second: UInt8[Tensor, "b f c y x"] | None = None
    labels: Int[Tensor, " b"] | None = None
    paths: tuple[str, ...] = ()
    bad: tuple[BadFile, ...] = field(default=())

    def rows(self, start: int, stop: int) -> Batch:
        """Return rows ``start`` to ``stop`` as a batch of their own (gradient accumulation)."""
        parts = {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}
        cut = {name: value[start:stop] for name, value in parts.items()}
        return replace(self, **cut, paths=self.paths[start:stop])

    def to(self, device) -> Batch:
        """Return the batch with its tensors on ``device``."""
        parts = {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}
        return replace(self, **{name: value.to(device, non_blocking=True) for name, value in parts.items()})


@runtime_checkable
class Batches(Protocol):
    """An iterator of batches that holds something open (worker processes) until it is closed."""

    def __next__(self) -> Batch:
        """Return the next batch."""
        ...

    def __iter__(self) -> Iterator[Batch]:
        """Return itself."""
        ...

    def __enter__(self) -> Batches:
        """Return itself."""
        ...

    def __exit__(self, *exception: object) -> None:
        """Close."""
        ...

    def close(self) -> None:
        """Let go of what is held open."""
        ...


@dataclass(frozen=True)
class ActionDist:
    """Where a planner looks: for every row and plan step, a Gaussian of each action, or choices by
    ``logits``.

    ``logits`` are of one-hots: each group of them (a choice) is read through a softmax of its own.
    """

    mean: Float[Tensor, "b l a"] | None = None
    std: Float[Tensor, "b l a"] | None = None
    logits: Float[Tensor, "b l a"] | None = None

    def __post_init__(self):
        given = [name for name, value in vars(self).items() if value is not None]
        if given not in (["mean", "std"], ["logits"]):
            raise ValueError(
                f"an action distribution has mean and std, or logits; got {' and '.join(given) or 'nothing'}"
            )

    @classmethod
    def initial(cls, bounds: tuple[Any, Any], *, batch: int, horizon: int, spread: float = 0.5) -> ActionDist:
        """Return the distribution of a planner that knows nothing: the middle of the box, wide.

        Args:
            bounds: lowest and highest action block ``[a]`` in environment units; their device is the
                result's.
            batch: rows.
            horizon: plan steps.
            spread: standard deviation, as a share of the box's width.

        Raises:
            ValueError: bounds that are not finite or not in order (see ``read_bounds``).
        """
        low, high = read_bounds(bounds)
        mean, std = ((low + high) / 2, spread * (high - low))
        return cls(mean=mean.repeat(batch, horizon, 1), std=std.repeat(batch, horizon, 1))

    @classmethod
    def uniform(cls, sizes: tuple[int, ...], *, batch: int, horizon: int, device: Any = "cpu") -> ActionDist:
        """Return the distribution in which all options of each choice are equally likely."""
        return cls(logits=torch.zeros(batch, horizon, sum(sizes), device=device))


@dataclass(frozen=True)
class Plan:
    """What a planner found for each row.

    ``actions``: the best candidate that was scored, within the bounds. ``cost``: its cost; infinite if no
    candidate of the row had a finite one. ``dist``: where it would look next. ``elite_cost``: mean cost of
    the best candidates at each iteration done. ``num_nonfinite``: how many costs were NaN or infinite.
    """

    actions: Float[Tensor, "b l a"]
    cost: Float[Tensor, " b"]
    dist: ActionDist
    elite_cost: Float[Tensor, "b iterations"]
    num_nonfinite: Int[Tensor, " b"]

    @property
    def iterations_done(self) -> int:
        """Iterations done: fewer than asked for if the time was up."""
        return self.elite_cost.shape[1]


def read_bounds(
    bounds: tuple[Any, Any], like: Tensor | None = None
) -> tuple[Float[Tensor, " a"], Float[Tensor, " a"]]:
    """Return (lowest, highest) action block as tensors, of the dtype and device of ``like`` if given.

    Raises:
        ValueError: bounds of different or other shapes, not finite, or the wrong way round.
    """
    as_float = lambda edge: torch.as_tensor(edge, dtype=None if torch.is_tensor(edge) else torch.float32)  # noqa: E731
    low, high = (as_float(edge) if like is None else as_float(edge).to(like) for edge in bounds)
    if low.ndim != 1 or low.shape != high.shape or not low.is_floating_point():
        raise ValueError(
            "bounds must be two float vectors (low [a], high [a]) of an action block, got "
            f"{tuple(low.shape)} and {tuple(high.shape)} of {low.dtype}"
        )
    if not bool((low.isfinite() & high.isfinite() & (low <= high)).all()):
        raise ValueError(
            f"bounds must be finite, low <= high, got low={low.tolist()}, high={high.tolist()}; a box that "
            "is open on a side has to be given bounds, for example the range of the recorded actions"
        )
    return low, high
