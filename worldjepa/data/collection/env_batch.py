"""Many environments as one vector environment, in this process: for ids that simulate a batch at once.

Autoreset is disabled: a row whose episode has ended is reset by us, with the seed of the next episode, so
that no action is swallowed and every episode follows from its own seed, whatever goes on in the other rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv

from worldjepa.data.collection.env_making import make_batch
from worldjepa.data.collection.env_worker import Fault, Task
from worldjepa.data.collection.moments import EnvFacts, EpisodeBuilder, success_of
from worldjepa.data.collection.policies import POLICIES, Act, PolicyError, begin_random, find_policy
from worldjepa.data.collection.recording import Recorder, unsound_rows
from worldjepa.data.episodes.episode import Episode
from worldjepa.settings.env import EnvConfig


class BatchError(Exception):
    """The batch as a whole failed; its episodes have to be played by single environments."""


class EnvBatch:
    """``env.num_envs`` rows, with the methods of ``EnvPool``. Use it as a context manager."""

    def __init__(self, env: EnvConfig, facts: EnvFacts, *, policy: str, size: int) -> None:
        self._rows, self._facts = env.num_envs, facts
        self._env = _made(env)
        space = self._env.single_observation_space
        self._recorder = Recorder(env, size, space, self._env.render, rows=env.num_envs)
        self._actors = _Actors(self._env, policy, env.num_envs)
        self._tasks: list[Task | None] = [None] * self._rows
        self._episodes: list[EpisodeBuilder | None] = [None] * self._rows
        self._over = np.ones(self._rows, bool)  # these have to be reset before the next step

    @property
    def free(self) -> int:
        """How many more episodes can be started now."""
        return self._tasks.count(None)

    def start(self, task: Task) -> None:
        """Let a free row play an episode."""
        row = self._tasks.index(None)
        self._tasks[row] = task
        self._over[row] = True

    def wait(self) -> list[tuple[Task, Episode | Fault]]:
        """Return the episodes that end with the next step, perhaps none.

        Raises ``PolicyError``, and ``BatchError`` for whatever else goes wrong.
        """
        try:
            if self._over.any():
                self._reset()
            return self._step()
        except PolicyError:
            raise
        except Exception as error:  # anybody's vector environment: it can raise anything, return anything
            raise BatchError(f"{type(error).__name__}: {' '.join(str(error).split())}") from error

    def _reset(self) -> None:
        """Begin the waiting episodes; rows without one play along, unseen."""
        rows = self._over
        seeds: Any = [0 if task is None else task.seed for task in self._tasks]  # annotated too narrowly
        observation, info = self._env.reset(seed=seeds, options={"reset_mask": rows.copy()})
        moment = self._recorder.take(observation, info)
        numbers = np.flatnonzero(rows).tolist()
        self._actors.see(numbers, observation, info)
        for row in numbers:
            task = self._tasks[row]
            if task is not None:
                self._actors.begin(row, task.policy_seed)
                self._episodes[row] = EpisodeBuilder(moment.row(row), task.seed)
        self._over = np.zeros(self._rows, bool)

    def _step(self) -> list[tuple[Task, Episode | Fault]]:
        actions = self._actors.act()
        observation, rewards, terminated, truncated, info = self._env.step(actions)
        moment = self._recorder.take(observation, info)
        self._actors.see(range(self._rows), observation, info)
        unsound = unsound_rows(moment, rewards)
        ended: list[tuple[Task, Episode | Fault]] = []
        for row, (task, episode) in enumerate(zip(self._tasks, self._episodes, strict=True)):
            over = bool(terminated[row] or truncated[row])
            self._over[row] = over
            if task is None or episode is None:
                continue
            episode.add(actions[row], float(rewards[row]), moment.row(row))
            step = len(episode.actions)
            over = over or row in unsound or step == self._facts.max_episode_steps
            if not over:
                continue
            result: Episode | Fault
            if row in unsound:
                result = Fault(step, f"step: {unsound[row]}")
            else:
                result = episode.finish(
                    self._facts.action,
                    terminated=bool(terminated[row]),
                    truncated=not terminated[row],
                    success=success_of(row_of(info, row)),
                )
            ended.append((task, result))
            self._tasks[row] = self._episodes[row] = None
            self._over[row] = True
        return ended

    def close(self) -> None:
        """Close the environment."""
        self._env.close()

    def __enter__(self) -> EnvBatch:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class _Actors:
    """Who acts in each row; a script acts for all rows at once, each with its own generator."""

    def __init__(self, env: VectorEnv, policy: str, rows: int) -> None:
        self._space, self._begin = env.single_action_space, find_policy(policy)
        self._script = getattr(env.unwrapped, "scripted_actions", None) if policy == "scripted" else None
        self._looks = policy not in POLICIES  # ours act without looking
        self._seen: list[tuple[Any, dict[str, Any]]] = [(None, {})] * rows
        self._generators = [np.random.default_rng(0) for _ in range(rows)]
        self._acts: list[Act] = [begin_random(self._space, generator, None) for generator in self._generators]

    def begin(self, row: int, seed: int) -> None:
        """Begin an episode in a row."""
        self._generators[row] = np.random.default_rng(seed)
        if self._script is None:
            self._acts[row] = self._begin(self._space, self._generators[row], None)

    def see(self, rows: Iterable[int], observation: Any, info: Mapping[str, Any]) -> None:
        """Remember what these rows have observed."""
        if self._looks:
            for row in rows:
                self._seen[row] = (row_of(observation, row), row_of(info, row))

    def act(self) -> np.ndarray:
        """Return the actions of all rows, ``[rows *action]``."""
        if self._script is not None:
            return self._script(self._generators)
        return np.stack([act(*seen) for act, seen in zip(self._acts, self._seen, strict=True)])


def row_of(batch: Any, row: int) -> Any:
    """Return what one environment would have returned, out of arrays and dictionaries of a batch.

    Keys that begin with ``_`` mark in which rows a vector environment's info is filled; they are left out.
    """
    if isinstance(batch, Mapping):
        there = {key: batch.get(f"_{key}") for key in batch if not str(key).startswith("_")}
        return {key: row_of(batch[key], row) for key, mask in there.items() if mask is None or mask[row]}
    return batch[row]


def _made(env: EnvConfig) -> VectorEnv:
    batch = make_batch(env, env.num_envs)
    assert batch is not None, "EnvFacts.batched says that there is one"
    return batch
