"""A controller in the toy world, and the loop that it drives."""

import functools
from typing import Any

from gymnasium import spaces

from tests.planning.stub_world import StubWorld
from worldjepa import MPCController
from worldjepa.planning import (
    cem,
)

BOX = spaces.Box(-2, 2, (2,))
QUICK = functools.partial(cem, num_samples=100, num_elites=10, iterations=5)
COMPASS = [[0.0, 0.0], [2.0, 0.0], [-2.0, 0.0], [0.0, 2.0], [0.0, -2.0]]
STARTS = [[2, 3], [28, 4], [16, 16]]
ENDS = [[20, 25], [5, 5], [3, 30]]


def controller(model: Any = None, planner: Any = QUICK, **settings) -> Any:
    stub: Any = StubWorld() if model is None else model
    return MPCController(stub, planner, **{"action_space": BOX, **settings})


def drive(control, env, goal, steps):
    frames = env.frames()
    for _ in range(steps):
        frames = env.step(control.act(frames, goal))
    return frames
