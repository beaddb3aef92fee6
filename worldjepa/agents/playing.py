"""Whole episodes played side by side by somebody who looks at the frames of all of them at once.

What ``data/collection`` does with processes cannot be done here: an agent encodes a batch of frames. One
episode after the other would take the encoder many times longer.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence

import gymnasium
import numpy as np
from jaxtyping import UInt8

from worldjepa.agents.acting import AgentController
from worldjepa.agents.actor_critic import ActorCritic
from worldjepa.data.collection.env_making import make_env, step_limit
from worldjepa.data.collection.moments import EpisodeBuilder, success_of
from worldjepa.data.collection.recording import Recorder
from worldjepa.data.episodes.action_spec import ActionSpec, action_spec
from worldjepa.data.episodes.episode import Episode
from worldjepa.model.world_model import WorldModel
from worldjepa.settings.env import EnvConfig

Act = Callable[[UInt8[np.ndarray, "b y x 3"]], np.ndarray]  # what env.step takes, for each environment
Begin = Callable[[gymnasium.Space], Act]


def play_episodes(
    env: EnvConfig,
    begin: Begin,
    *,
    seeds: Sequence[int],
    size: int,
    stop: Callable[[], object] = lambda: False,
) -> list[Episode] | None:
    """Play an episode for each of ``seeds``, all at once, with frames of ``size`` x ``size``.

    ``begin(action_space)`` returns who acts. Environments whose episodes are over stand still and are still
    seen, so that each row is the same however long the others last. Returns None once ``stop`` is true.

    Raises:
        ValueError: the environment cannot be used; also whatever it raises itself.
    """
    with contextlib.ExitStack() as opened:
        rows = [Row(env, seed, size) for seed in seeds]
        for row in rows:
            opened.callback(row.env.close)
        act = begin(rows[0].env.action_space)
        while not all(row.over for row in rows):
            if stop():
                return None
            actions = act(np.stack([row.frame for row in rows]))
            for row, action in zip(rows, actions, strict=True):
                row.step(action)
        return [row.episode() for row in rows]


class Row:
    """One environment while its episode is played."""

    def __init__(self, env: EnvConfig, seed: int, size: int):
        self.env = make_env(env)
        self.spec: ActionSpec = action_spec(self.env.action_space)
        self._recorder = Recorder(env, size, self.env.observation_space, self.env.render)
        observation, self._info = self.env.reset(seed=seed)
        self._builder = EpisodeBuilder(self._recorder.take(observation, self._info), seed)
        self.terminated = self.truncated = False

    @property
    def over(self) -> bool:
        """Whether the episode has ended."""
        return self.terminated or self.truncated

    @property
    def frame(self) -> UInt8[np.ndarray, "y x 3"]:
        """What was seen last."""
        return self._builder.moments[-1].frames[self._recorder.cameras[0]]

    def step(self, action: np.ndarray) -> None:
        """Do ``action``; nothing, if the episode is over."""
        if self.over:
            return
        observation, reward, terminated, truncated, self._info = self.env.step(action)
        self._builder.add(np.asarray(action), float(reward), self._recorder.take(observation, self._info))
        limit = len(self._builder.actions) == step_limit(self.env)
        self.terminated = bool(terminated)
        self.truncated = bool(truncated) or (limit and not self.terminated)

    def episode(self) -> Episode:
        """Return the whole episode."""
        return self._builder.finish(
            self.spec, terminated=self.terminated, truncated=self.truncated, success=success_of(self._info)
        )


def agent_beginner(model: WorldModel, agent: ActorCritic, seed: int | None) -> Begin:
    """Return who plays: the agent, with noise of ``seed``, or without any."""
    noisy = seed is not None
    return lambda space: AgentController(model, agent, action_space=space, explore=noisy, seed=seed or 0).act
