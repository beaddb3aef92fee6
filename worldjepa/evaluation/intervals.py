"""How sure a figure is: 95 % intervals of shares, and of anything computed from clips."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

RESAMPLES = 500


def wilson(successes: int, trials: int, z: float = 1.96) -> tuple[float, float]:
    """Return the bounds of the Wilson score interval of a proportion (95 % by default)."""
    if trials == 0:
        return 0.0, 1.0
    share, spread = successes / trials, z * z / trials
    centre = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(share * (1 - share) / trials + spread / (4 * trials))
    return max(0.0, centre - half), min(1.0, centre + half)


def bootstrap(
    statistic: Callable[[Tensor], float], clips: int, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[float, float]:
    """Return the 2.5 and 97.5 percentiles of a statistic over resampled clips (Efron, 1979).

    ``statistic(ids)`` computes it of the clips ``ids`` [clips], drawn with replacement. Rows of one clip have
    to be kept together: they are not independent.
    """
    generator = torch.Generator().manual_seed(seed)
    found = [statistic(torch.randint(clips, (clips,), generator=generator)) for _ in range(resamples)]
    low, high = torch.tensor(found, dtype=torch.float64).nanquantile(
        torch.tensor([0.025, 0.975], dtype=torch.float64)
    )
    return float(low), float(high)
