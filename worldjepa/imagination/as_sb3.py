"""The way to Stable-Baselines3, which is imported when it is taken."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gymnasium.vector import VectorEnv

if TYPE_CHECKING:
    from worldjepa.imagination.sb3 import SB3VecEnv


def as_sb3_vec_env(env: VectorEnv) -> SB3VecEnv:
    """Return a Gymnasium vector environment as one of Stable-Baselines3, with the same transitions.

    Raises:
        ValueError: an environment that does not reset in the same step, as Stable-Baselines3 expects it.
        ImportError: Stable-Baselines3 is not installed.
    """
    try:
        from worldjepa.imagination.sb3 import SB3VecEnv
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "stable_baselines3":
            raise
        raise ImportError(
            "as_sb3_vec_env needs the package stable-baselines3: python -m pip install stable-baselines3"
        ) from error
    return SB3VecEnv(env)
