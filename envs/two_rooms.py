"""``worldjepa/TwoRooms-v0``: a dot that has to find the door between two rooms.

Geometry, speed and success radius are those of the public TwoRoom task of ``stable-worldmodel``. Other than
there, start and goal are drawn only from where the dot can stand, never so close together that the start is a
success already, and success is rewarded (the public reward is always 0).
"""

from __future__ import annotations

from gymnasium.vector import AutoresetMode

from .dot_world import DotSettings
from .geometry import Geometry
from .single import DotEnv
from .vectorised import DotVectorEnv


def two_rooms(
    *,
    image_size: int = 64,
    speed: float = 5.0,
    random_wall: bool = False,
    random_door: bool = False,
    distractors: bool = False,
    show_goal: bool = False,
    reward: str = "success",
    end_on_success: bool = True,
    render_mode: str | None = None,
) -> DotEnv:
    """Build a single environment.

    ``speed``: what an action of 1 moves a step, in pixels of 224 (all lengths scale with ``image_size``).
    ``random_wall``, ``random_door``: draw the wall's place and the door's height in every episode.
    ``distractors``: noise on every frame and a moving background. ``show_goal``: the goal as a green dot.
    ``reward``: ``success``, 1 for a step that ends at the goal, else 0; or ``distance``, minus the distance
    to the goal in image widths. ``end_on_success``: terminate at the goal; without it, episodes go on.
    """
    settings = DotSettings(
        geometry=Geometry(),
        image_size=image_size,
        speed=speed,
        random_wall=random_wall,
        random_door=random_door,
        distractors=distractors,
        show_goal=show_goal,
        reward=reward,
        end_on_success=end_on_success,
    )
    return DotEnv(settings, render_mode)


def two_rooms_vector(
    num_envs: int = 1,
    *,
    image_size: int = 64,
    speed: float = 5.0,
    random_wall: bool = False,
    random_door: bool = False,
    distractors: bool = False,
    show_goal: bool = False,
    reward: str = "success",
    end_on_success: bool = True,
    max_episode_steps: int | None = None,
    render_mode: str | None = None,
    autoreset_mode: AutoresetMode | str = AutoresetMode.SAME_STEP,
) -> DotVectorEnv:
    """Build a batch of environments that moves and draws at once; see ``two_rooms`` and ``DotVectorEnv``."""
    settings = DotSettings(
        geometry=Geometry(),
        image_size=image_size,
        speed=speed,
        random_wall=random_wall,
        random_door=random_door,
        distractors=distractors,
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
