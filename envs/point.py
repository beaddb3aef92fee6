"""``worldjepa/Point-v0``: a dot on an empty sheet; tiny and quick, for tests.

The goal is drawn (green), so that the reward, minus the distance to it, can be read off a frame.
"""

from __future__ import annotations

from gymnasium.vector import AutoresetMode

from .dot_world import DotSettings
from .geometry import Geometry
from .single import DotEnv
from .vectorised import DotVectorEnv

SHEET = Geometry(has_wall=False, border=0.0, line=0.0, dot=16.0, success_radius=24.0)


def point(
    *,
    image_size: int = 16,
    speed: float = 20.0,
    show_goal: bool = True,
    reward: str = "distance",
    end_on_success: bool = False,
    render_mode: str | None = None,
) -> DotEnv:
    """Build a single environment; the keywords are those of ``two_rooms``."""
    settings = DotSettings(
        geometry=SHEET,
        image_size=image_size,
        speed=speed,
        show_goal=show_goal,
        reward=reward,
        end_on_success=end_on_success,
    )
    return DotEnv(settings, render_mode)


def point_vector(
    num_envs: int = 1,
    *,
    image_size: int = 16,
    speed: float = 20.0,
    show_goal: bool = True,
    reward: str = "distance",
    end_on_success: bool = False,
    max_episode_steps: int | None = None,
    render_mode: str | None = None,
    autoreset_mode: AutoresetMode | str = AutoresetMode.SAME_STEP,
) -> DotVectorEnv:
    """Build a batch of environments that moves and draws at once; see ``DotVectorEnv``."""
    settings = DotSettings(
        geometry=SHEET,
        image_size=image_size,
        speed=speed,
        show_goal=show_goal,
        reward=reward,
        end_on_success=end_on_success,
    )
    return DotVectorEnv(
        settings,
        num_envs,
        max_episode_steps=max_episode_steps,
        render_mode=render_mode,
        autoreset_mode=autoreset_mode,
    )
