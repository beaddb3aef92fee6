"""Keys and values of past latent steps, kept so that a step of a rollout costs the same however long it is.

Heads come first, ``[heads r m dh]``: then both the rows of one context, seen by many candidates, and the rows
of each candidate are views of the same queries, and nothing is copied to share a context.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor


@dataclass(frozen=True)
class KeyValues:
    """Rotated keys and values of ``r`` sequences: tokens ``start`` to ``end`` of what is allocated."""

    all_keys: Float[Tensor, "heads r allocated dh"]
    all_values: Float[Tensor, "heads r allocated dh"]
    start: int
    end: int

    @classmethod
    def of(cls, keys: Tensor, values: Tensor) -> KeyValues:
        """Return a cache of exactly these tokens, without room for more."""
        return cls(keys, values, 0, keys.shape[2])

    @classmethod
    def with_room(cls, keys: Tensor, values: Tensor, room: int) -> KeyValues:
        """Return a cache of these tokens with space for ``room`` in all, to be appended to in place."""
        heads, rows, m, width = keys.shape
        if room <= m:
            return cls.of(keys, values)
        space = keys.new_empty(2, heads, rows, room, width)
        return cls(space[0], space[1], 0, 0).append(keys, values)

    @property
    def keys(self) -> Float[Tensor, "heads r m dh"]:
        """The keys that are seen."""
        return self.all_keys[:, :, self.start : self.end]

    @property
    def values(self) -> Float[Tensor, "heads r m dh"]:
        """The values that are seen."""
        return self.all_values[:, :, self.start : self.end]

    def append(self, keys: Tensor, values: Tensor) -> KeyValues:
        """Return the cache with tokens added: in place where there is room left, else as a new one."""
        end = self.end + keys.shape[2]
        if end > self.all_keys.shape[2]:
            return KeyValues.of(torch.cat([self.keys, keys], dim=2), torch.cat([self.values, values], dim=2))
        self.all_keys[:, :, self.end : end] = keys
        self.all_values[:, :, self.end : end] = values
        return replace(self, end=end)

    def last(self, tokens: int) -> KeyValues:
        """Return the cache less all but its last ``tokens`` (a view)."""
        return replace(self, start=max(self.start, self.end - tokens))

    def compact(self) -> KeyValues:
        """Return the cache in memory of its own, laid out for products."""
        return KeyValues.of(self.keys.contiguous(), self.values.contiguous())


class Past(NamedTuple):
    """What the tokens of one latent step see beside themselves; the window has been applied.

    ``shared``: of ``b`` sequences, each seen by ``s`` neighbouring rows of the queries (``[b s]`` flattened);
    ``valid [b m]``: which of its tokens are real (None: all). ``own``: of the queries' own rows. ``room``:
    how many tokens an ``own`` that begins here is to have space for in place; 0 keeps it functional.
    ``causal``: a token sees of its own step only what stands before it.
    """

    shared: KeyValues | None = None
    own: KeyValues | None = None
    valid: Bool[Tensor, "b m"] | None = None
    room: int = 0
    causal: bool = False

    def grown(self, keys: Tensor, values: Tensor) -> KeyValues:
        """Return ``own`` with the present step's keys and values."""
        if self.own is None:
            return KeyValues.with_room(keys, values, self.room)
        return self.own.append(keys, values)
