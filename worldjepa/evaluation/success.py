"""When a goal is reached, and how sure a share of successes is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from worldjepa.data.collection.moments import success_of
from worldjepa.evaluation.probes import wilson


@dataclass(frozen=True)
class Success:
    """``tolerances``: keys of ``info``, and how close (Euclidean) each has to come to its value at the goal.

    Without any, the environment's own flag decides: ``success`` or ``is_success`` of ``info``.
    """

    tolerances: Mapping[str, float] = field(default_factory=dict)

    def reached(self, info: Mapping[str, Any], goal: Mapping[str, Any]) -> bool:
        """Tell whether ``info`` is that of the goal.

        Raises:
            ValueError: ``info`` does not hold what decides.
        """
        if not self.tolerances:
            flag = success_of(info)
            if flag is None:
                raise ValueError(
                    "the environment's info has no flag success or is_success; name keys of it and how close "
                    f"they have to come to the goal's: plan.success={{KEY: TOLERANCE}} ({_keys(info)})"
                )
            return flag
        return all(
            float(np.linalg.norm(_number(info, key) - _number(goal, key))) < tolerance
            for key, tolerance in self.tolerances.items()
        )

    def words(self) -> str:
        """Return it as a line of text."""
        parts = [f"{key} within {tolerance:.4g}" for key, tolerance in self.tolerances.items()]
        return " and ".join(parts) or "the environment's own flag"


@dataclass(frozen=True)
class Share:
    """``successes`` of ``episodes``."""

    successes: int
    episodes: int

    @classmethod
    def of(cls, reached: Sequence[bool]) -> Share:
        """Count."""
        return cls(sum(map(bool, reached)), len(reached))

    @property
    def rate(self) -> float:
        """The share itself; 0 of none."""
        return self.successes / self.episodes if self.episodes else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return it with its 95 % Wilson interval."""
        low, high = wilson(self.successes, self.episodes)
        return {
            "success_rate": self.rate,
            "wilson_low": low,
            "wilson_high": high,
            "episodes": self.episodes,
        }


def _number(info: Mapping[str, Any], key: str) -> np.ndarray:
    value = np.asarray(info.get(key))
    if value.dtype.kind not in "fiub":
        raise ValueError(f"plan.success: info holds no numbers under {key!r}; {_keys(info)}")
    return value.astype(np.float64)


def _keys(info: Mapping[str, Any]) -> str:
    numeric = [key for key, value in info.items() if np.asarray(value).dtype.kind in "fiub"]
    return f"info has {', '.join(numeric) or 'no numbers'}"
