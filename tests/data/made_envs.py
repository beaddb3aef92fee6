"""Environments for the collector's tests: one that does everything right, and can do anything wrong."""

import ctypes
import os
import time
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

STEPS = 4  # the length of an episode
IMAGE = spaces.Box(0, 255, (10, 12, 3), np.uint8)


class Made(gymnasium.Env):
    """A position that adds up its actions, shown as the brightness of a picture.

    ``fault`` names what goes wrong in every ``every``-th seed, in ``phase`` (construction, reset, or step 2);
    at construction it goes wrong only while the file ``once`` is not there.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 5}  # noqa: RUF012

    def __init__(
        self,
        fault: str = "",
        phase: str = "step",
        every: int = 3,
        once: str = "",
        space: str = "box",
        observed: str = "image",
        render_mode: str | None = None,
    ):
        self.render_mode, self.fault, self.phase, self.every = render_mode, fault, phase, every
        self.action_space = {
            "box": spaces.Box(-1, 1, (2,), np.float32),
            "open": spaces.Box(-np.inf, np.inf, (2,), np.float32),
            "discrete": spaces.Discrete(3, start=1),
            "multi_discrete": spaces.MultiDiscrete([2, 3]),
            "dict": spaces.Dict({"a": spaces.Discrete(2)}),
        }[space]
        vector = spaces.Box(-np.inf, np.inf, (2,), np.float64)
        self.observed = observed
        self.observation_space = {
            "image": IMAGE,
            "vector": vector,
            "dict": spaces.Dict({"top": IMAGE, "wrist": IMAGE, "joints": vector, "grip": spaces.Discrete(2)}),
        }[observed]
        if phase == "construction" and not Path(once).exists():
            Path(once).touch()
            self._go_wrong()

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.seed, self.count, self.position = seed, 0, self.np_random.random(2)
        self.wrong = bool(self.fault) and seed is not None and seed % self.every == 0
        if self.wrong and self.phase == "reset":
            self._go_wrong()
        return self._observation(self.phase == "reset"), self._info()

    def step(self, action) -> Any:
        self.count += 1
        self.position = self.position + np.resize(action, 2)
        at_fault = self.wrong and self.phase == "step" and self.count == 2
        if at_fault:
            self._go_wrong()
        reward = np.nan if at_fault and self.fault == "nan reward" else 0.5 * self.count
        end: Any = "yes" if at_fault and self.fault == "odd end" else self.count == STEPS
        return self._observation(at_fault), reward, end, False, self._info()

    def render(self):
        if self.fault == "no picture" and self.wrong and self.count == 2:
            return None
        return np.full((20, 24, 3), 10 * self.count, np.uint8)

    def _info(self):
        return {"position": self.position, "seed": self.seed, "success": self.count == STEPS, "name": "made"}

    def _observation(self, faulty):
        faulty = faulty and self.wrong
        if faulty and self.fault == "nan":
            return np.full(2, np.nan)
        if faulty and self.fault == "shape":
            return np.zeros((3, 10, 12), np.uint8)
        if faulty and self.fault == "dtype":
            return np.zeros((10, 12, 3), np.float32)
        picture = np.full(IMAGE.shape, 10 * self.count, np.uint8)
        if self.observed == "vector":
            return self.position
        if self.observed == "dict":
            return {
                "top": picture,
                "wrist": picture + 1,
                "joints": self.position,
                "grip": np.int64(self.count % 2),
            }
        return picture

    def _go_wrong(self):
        if self.fault == "raises":
            raise RuntimeError("the simulator\nbroke")
        if self.fault == "dies":
            print("a last word", flush=True)
            os._exit(3)
        if self.fault == "segfaults":
            ctypes.string_at(0)
        if self.fault == "hangs":
            time.sleep(600)


class MadeBatch(gymnasium.vector.SyncVectorEnv):
    """A vector environment of its own for an id; ``breaks_at`` counts all its steps."""

    def __init__(self, num_envs, autoreset_mode, breaks_at=0, max_episode_steps=None):
        super().__init__([Made] * num_envs, autoreset_mode=autoreset_mode)
        self.steps, self.breaks_at = 0, breaks_at

    def step(self, actions):
        self.steps += 1
        if self.steps == self.breaks_at:
            raise RuntimeError("the batch broke")
        return super().step(actions)


def batched(breaks_at=0, render_mode=None):
    return Made(render_mode=render_mode)


gymnasium.register("made/Made-v0", entry_point="tests.data.made_envs:Made")
gymnasium.register(
    "made/Batched-v0",
    entry_point="tests.data.made_envs:batched",
    vector_entry_point="tests.data.made_envs:MadeBatch",
)


def half(observation, info, action_space, generator):
    """Return half of what is possible: a policy."""
    return np.full(action_space.shape, 0.5, action_space.dtype)


def from_info(observation, info, action_space, generator):
    return np.clip(-info["position"] + 0.1 * generator.standard_normal(2), -1, 1)


class Counting:
    """A policy that remembers within an episode."""

    def __init__(self):
        self.count = 0

    def __call__(self, observation, info, action_space, generator):
        self.count += 1
        return np.full(2, self.count / 10, np.float32)


def raising(observation, info, action_space, generator):
    return 1 / 0


def too_wide(observation, info, action_space, generator):
    return np.zeros(5)
