"""Pixel statistics that published weights were trained with, carried over into ours.

Our models take frames normalised by ImageNet's statistics (``model/frames.py``). Weights trained with others
get a patch embedding that undoes the difference exactly: it is linear in the pixels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from worldjepa.model.foreign.contents import ForeignError
from worldjepa.model.frames import PIXEL_MEAN, PIXEL_STD


@dataclass(frozen=True)
class Pixels:
    """Mean and standard deviation of red, green and blue in [0, 1] that frames are normalised with."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def read(cls, settings: Mapping[str, Any], mean: str, std: str, where: str) -> Pixels | None:
        """Return the statistics that ``settings`` name, None if they name none.

        Raises:
            ForeignError: other things than three finite numbers, or deviations of 0.
        """
        if settings.get(mean) is None and settings.get(std) is None:
            return None
        found = cls(*(_three(settings.get(name), f"{where}: {name}") for name in (mean, std)))
        if min(found.std) <= 0:
            raise ForeignError(f"{where}: {std} must be above 0, got {found.std}")
        return found

    @property
    def ours(self) -> bool:
        """Whether these are the statistics that our models normalise with."""
        pairs = zip(self.mean + self.std, PIXEL_MEAN + PIXEL_STD, strict=True)
        return all(math.isclose(one, other, abs_tol=1e-6) for one, other in pairs)

    def fold(
        self, weight: Float[Tensor, "d cpixels"], bias: Float[Tensor, " d"]
    ) -> tuple[Float[Tensor, "d cpixels"], Float[Tensor, " d"]]:
        """Return a patch embedding that gives for our normalised pixels what it gave for theirs."""
        mean, std = (torch.tensor(x, dtype=torch.float64).view(3, 1) for x in (self.mean, self.std))
        our_mean, our_std = (torch.tensor(x, dtype=torch.float64).view(3, 1) for x in (PIXEL_MEAN, PIXEL_STD))
        by_channel = weight.double().unflatten(1, (3, -1))
        shift = (by_channel * ((our_mean - mean) / std)).sum(dim=(1, 2))
        scaled = (by_channel * (our_std / std)).flatten(1)
        return scaled.to(weight.dtype), (bias.double() + shift).to(bias.dtype)


def _three(values: Any, where: str) -> tuple[float, ...]:
    numbers = isinstance(values, list | tuple) and all(type(value) in (int, float) for value in values)
    if not numbers or len(values) != 3 or not all(math.isfinite(value) for value in values):
        raise ForeignError(f"{where} must be three numbers, got {values!r:.80}")
    return tuple(float(value) for value in values)
