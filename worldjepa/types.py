"""The values that travel between rooms, and the axis legend used in every signature.

``b`` batch, ``f`` frame, ``t`` latent step, ``h w`` token grid, ``p`` = h*w tokens a latent step,
``n`` = t*p tokens, ``k`` kept, ``m`` masked (to be predicted), ``d`` width, ``c y x`` channel, rows,
columns, ``a`` action block width, ``s`` sampled candidate, ``l`` plan step or transition, ``q`` proprioception.
Batch first, time second, features last.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol

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
    """A file that could not be used, and why, as it is written to ``bad_files.jsonl``."""

    path: str
    reason: str


@dataclass(frozen=True)
class Batch:
    """One step's clips of one rank.

    ``frames`` are RGB in display orientation at the training size. ``second`` is another clip of the
    same videos, there only when the objective compares two views. ``labels`` are -1 where unknown.
    ``paths`` names the file of each row; ``bad`` lists files met and replaced while drawing it.

    Windows of episodes also have ``actions`` (blocks in environment units; ``actions[:, i]`` leads from latent
    step i to i+1, so that there is one fewer than latent steps), ``rewards`` (the block's sum) and
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
