"""The order of samples: a function of (seed, sample number) alone, whatever workers and ranks there are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from worldjepa.seeding import derive_seed

# What a seed is for; the numbers are part of the order of every run and must not change.
PERMUTATION, MIXTURE, CLIP, REPLACEMENT = 1, 2, 3, 4


class Draw(NamedTuple):
    """File number ``file`` of source ``source``, on that source's ``epoch``-th pass."""

    source: int
    epoch: int
    file: int


class SampleOrder:
    """Maps a global sample number (0, 1, 2, ... over the whole run) to a file.

    Every source is passed through in a new seeded permutation each epoch. A mixture deals the sources
    out by weight in blocks of 1024 samples, shuffled within the block: the shares are exact at the end of
    each block, to the nearest sample, and no source repeats a file before its pass is over.
    """

    def __init__(self, sizes: Sequence[int], weights: Sequence[float], seed: int):
        if len(sizes) != len(weights) or not sizes:
            raise ValueError(
                f"expected one weight for each source, got {len(weights)} for {len(sizes)} sources"
            )
        if any(not 0 < weight < math.inf for weight in weights):
            raise ValueError(f"data.sources: weights have to be positive numbers, got {list(weights)}")
        if any(size < 1 for size in sizes):
            raise ValueError(f"every source needs at least one file, got sources of {list(sizes)} files")
        self._sizes = list(sizes)
        self._shares = [weight / math.fsum(weights) for weight in weights]
        self._heaviest = self._shares.index(max(self._shares))
        # Large enough that what rounding leaves to the heaviest source is never less than nothing.
        self._block = max(1024, len(sizes) ** 2)
        self._seed = seed
        self._permutation = lru_cache(maxsize=2 * len(sizes))(self._permute)
        self._dealt = lru_cache(maxsize=2)(self._deal)

    def draw(self, number: int) -> Draw:
        """Return the file of global sample ``number``."""
        source, turn = (0, number) if len(self._sizes) == 1 else self._turn(number)
        epoch, position = divmod(turn, self._sizes[source])
        return Draw(source, epoch, int(self._permutation(source, epoch)[position]))

    def __getstate__(self):
        return {key: value for key, value in self.__dict__.items() if key not in ("_permutation", "_dealt")}

    def __setstate__(self, state):
        self.__dict__.update(state)
        self._permutation = lru_cache(maxsize=2 * len(self._sizes))(self._permute)
        self._dealt = lru_cache(maxsize=2)(self._deal)

    def _permute(self, source: int, epoch: int) -> np.ndarray:
        rng = np.random.default_rng(derive_seed(self._seed, PERMUTATION, source, epoch))
        return rng.permutation(self._sizes[source])

    def _turn(self, number: int) -> tuple[int, int]:
        """Return (source, how many samples of it came before) of sample ``number`` of a mixture."""
        block, place = divmod(number, self._block)
        owners, before = self._dealt(block)
        source = int(owners[place])
        return source, before[source] + int(np.count_nonzero(owners[:place] == source))

    def _deal(self, block: int) -> tuple[np.ndarray, list[int]]:
        """Return the source of each sample of ``block``, and how many of each came before the block."""
        before, after = self._counts(block * self._block), self._counts((block + 1) * self._block)
        owners = np.repeat(np.arange(len(self._sizes)), np.subtract(after, before))
        rng = np.random.default_rng(derive_seed(self._seed, MIXTURE, block))
        return rng.permutation(owners), before

    def _counts(self, samples: int) -> list[int]:
        """Return how many of the first ``samples`` (whole blocks) belong to each source."""
        counts = [int(share * samples) for share in self._shares]
        counts[self._heaviest] += samples - sum(counts)
        return counts
