"""Single checks of one setting: each raises ``ConfigError`` that names it and says what would do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from worldjepa.settings.schema import ConfigError, did_you_mean


def require(right: bool, name: str, value: Any, expected: str, advice: str = "") -> None:
    """Refuse ``value`` unless it is ``right``."""
    if not right:
        raise ConfigError(f"{name}={value}: expected {expected}{advice}")


def one_of(name: str, value: Any, names: Sequence[str], advice: str = "") -> None:
    """Refuse a name that is not one of ``names``; say the nearest."""
    if value not in names:
        near = did_you_mean(str(value), names)
        raise ConfigError(f"{name}={value}: expected one of {', '.join(names)}{near or advice}")


def _unless_none(check: Callable[..., bool], value: Any) -> bool:
    return value is None or check(value)


def at_least(name: str, value: float | None, low: int) -> None:
    """Refuse what is set below ``low``."""
    require(_unless_none(lambda x: x >= low, value), name, value, f"{low} or more")


def at_most(name: str, value: float | None, high: int) -> None:
    """Refuse what is set above ``high``."""
    require(_unless_none(lambda x: x <= high, value), name, value, f"{high} or less")


def positive(name: str, value: float | None, advice: str = "") -> None:
    """Refuse what is set to 0 or below."""
    require(_unless_none(lambda x: x > 0, value), name, value, "more than 0", advice)


def share(name: str, value: float) -> None:
    """Refuse what is not from 0 to 1."""
    require(0 <= value <= 1, name, value, "a share from 0 to 1")


def ordered(name: str, pair: Sequence[float], high: float = float("inf")) -> None:
    """Refuse what is not [smallest, largest], above 0 and at most ``high``."""
    top = f" and at most {high:g}" if high < float("inf") else ""
    expected = f"[smallest, largest], more than 0{top}, smallest first"
    require(0 < pair[0] <= pair[1] <= high, name, list(pair), expected)


def divides(name: str, value: int, by: str, divisor: int) -> None:
    """Refuse what is not a multiple of ``divisor``."""
    if value % divisor:
        raise ConfigError(
            f"{name}={value} is not a multiple of {by}={divisor}; set {name}={near_multiple(value, divisor)}"
        )


def near_multiple(value: int, unit: int) -> int:
    """Return the multiple of ``unit`` nearest to ``value``, at least one."""
    return max(unit, round(value / unit) * unit)
