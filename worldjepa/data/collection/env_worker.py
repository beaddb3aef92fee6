"""A process that holds one environment and plays whole episodes of it, for ``env_pool.py``.

It may die or hang at any moment; what it is at, and since when, stands in memory that it shares with the
pool. What the environment prints goes into a file of the pool's. Loads no torch.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import pickle
import signal
import sys
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import gymnasium
import numpy as np

from worldjepa.data.child import end_with
from worldjepa.data.collection.env_making import make_batch, make_env, step_limit
from worldjepa.data.collection.moments import EnvFacts, EnvFault, EpisodeBuilder, UnusableEnvError, success_of
from worldjepa.data.collection.policies import Begin, PolicyError, find_policy
from worldjepa.data.collection.recording import Recorder
from worldjepa.data.episodes.action_spec import action_spec
from worldjepa.data.episodes.episode import Episode
from worldjepa.settings.env import EnvConfig

PHASES = ("start", "construction", "reset", "step")
BEAT_BYTES = 3 * 8  # since when (monotonic clock), phase, step: each a float64
_PR_SET_PDEATHSIG = 1  # of Linux's prctl(2)


@dataclass(frozen=True)
class Job:
    """What a worker is for. ``spec``: a pickled ``EnvSpec``, where the caller itself has registered it."""

    env: EnvConfig
    policy: str
    size: int
    spec: bytes | None = None


@dataclass(frozen=True)
class Describe:
    """Asks for ``EnvFacts``, found by a reset with this seed."""

    seed: int


@dataclass(frozen=True)
class Task:
    """Asks for an episode; ``policy_seed`` is for whoever acts in it."""

    number: int
    seed: int
    policy_seed: int


@dataclass(frozen=True)
class Fault:
    """An episode is lost: its environment raised, died, hung, or returned what it should not have."""

    step: int
    reason: str
    hung: bool = False


@dataclass(frozen=True)
class Mistake:
    """The user has to change something; the text is one line for them."""

    text: str


class Beats:
    """What a worker is at, and since when, as memory that two processes see."""

    def __init__(self, shared: mmap.mmap) -> None:
        self._values = memoryview(shared).cast("d")

    def beat(self, phase: str, step: int = 0) -> None:
        """Say that ``phase`` begins."""
        self._values[1], self._values[2] = PHASES.index(phase), step
        self._values[0] = time.monotonic()

    def read(self) -> tuple[str, int, float]:
        """Return the phase, the step, and for how many seconds it has been going on."""
        return PHASES[int(self._values[1])], int(self._values[2]), time.monotonic() - self._values[0]

    def close(self) -> None:
        """Let go of the memory."""
        self._values.release()


# --- one environment -----------------------------------------------------------------------------


class Player:
    """Plays episodes in an environment, which it makes when it is first needed, and anew after ``drop``."""

    def __init__(self, job: Job, beats: Beats) -> None:
        self.job, self.beats = job, beats
        self.begin: Begin | None = None
        self.env: gymnasium.Env | None = None

    def describe(self, seed: int) -> EnvFacts:
        """Reset the environment once and return what that shows."""
        env = self._made()
        self._actor(env, seed)  # a policy that does not exist is found here
        self.beats.beat("reset")
        observation, info = _reset(env, seed)
        names = self.recorder.state_names(info)
        moment = self.recorder.take(observation, info)
        fps = env.metadata.get("render_fps")
        return EnvFacts(
            action=self.action,
            cameras=self.recorder.cameras,
            proprioception_dim=0 if moment.proprioception is None else len(moment.proprioception),
            state_names=names,
            fps=float(fps) if fps else None,
            max_episode_steps=step_limit(env),
            batched=self._has_batch(),
        )

    def play(self, task: Task) -> Episode:
        """Play an episode; raises whatever the environment raises, and ``EnvFault``."""
        env = self._made()
        act = self._actor(env, task.policy_seed)
        self.beats.beat("reset")
        observation, info = _reset(env, task.seed)
        episode = EpisodeBuilder(self.recorder.take(observation, info), task.seed)
        terminated, truncated, limit = False, False, step_limit(env)
        while not (terminated or truncated):
            step = len(episode.actions) + 1
            self.beats.beat("step", step)
            action = act(observation, info)
            observation, reward, terminated, truncated, info = _step(env, action)
            episode.add(np.asarray(action), reward, self.recorder.take(observation, info))
            truncated = truncated or (step == limit and not terminated)
        return episode.finish(
            self.action, terminated=terminated, truncated=truncated, success=success_of(info)
        )

    def drop(self) -> None:
        """Close the environment after a fault: nothing of it is trusted any more."""
        env, self.env = self.env, None
        if env is not None:
            with contextlib.suppress(Exception):  # it failed before; what it says now is no news
                env.close()

    def _has_batch(self) -> bool:
        batch = make_batch(self.job.env, 1)
        if batch is None:
            return False
        batch.close()
        return self.job.policy != "scripted" or hasattr(batch.unwrapped, "scripted_actions")

    def _made(self) -> gymnasium.Env:
        if self.env is None:
            self.beats.beat("construction")
            self.env = make_env(self.job.env)
            try:
                self.action = action_spec(self.env.action_space)
            except ValueError as error:
                raise UnusableEnvError(f"env.id={self.job.env.id}: {error}") from error
            space = self.env.observation_space
            self.recorder = Recorder(self.job.env, self.job.size, space, self.env.render)
        return self.env

    def _actor(self, env: gymnasium.Env, seed: int) -> Any:
        if self.begin is None:
            self.begin = find_policy(self.job.policy)
        return self.begin(env.action_space, np.random.default_rng(seed), env)


def _reset(env: gymnasium.Env, seed: int) -> tuple[Any, Any]:
    result = env.reset(seed=seed)
    if not isinstance(result, tuple) or len(result) != 2:
        raise EnvFault(f"it returned {type(result).__name__}, expected (observation, info)")
    return result


def _step(env: gymnasium.Env, action: Any) -> tuple[Any, float, bool, bool, Any]:
    result: Any = env.step(action)
    if not isinstance(result, tuple) or len(result) != 5:
        raise EnvFault("it did not return (observation, reward, terminated, truncated, info)")
    observation, reward, terminated, truncated, info = result
    if np.size(reward) != 1 or not np.isfinite(np.float32(reward)).all():
        raise EnvFault(f"the reward is {reward!r}, expected a finite number")
    for name, ended in (("terminated", terminated), ("truncated", truncated)):
        if np.ndim(ended) or ended not in (0, 1):
            raise EnvFault(f"{name} is {ended!r}, expected True or False")
    return observation, float(np.asarray(reward).item()), bool(terminated), bool(truncated), info


# --- the process ---------------------------------------------------------------------------------


def serve(requests: Connection, beats: Beats) -> None:
    """Answer each ``Describe`` and ``Task`` until the pool hangs up."""
    job: Job = requests.recv()
    if job.spec is not None:
        spec = pickle.loads(job.spec)  # by the pool, in the same program
        gymnasium.registry.setdefault(spec.id, spec)
    player = Player(job, beats)
    while True:
        try:
            request = requests.recv()
        except EOFError:
            return
        os.ftruncate(1, 0)  # keep only what is printed in the present episode
        requests.send(_answer(player, request))


def _answer(player: Player, request: Describe | Task) -> EnvFacts | Episode | Fault | Mistake:
    try:
        if isinstance(request, Describe):
            return player.describe(request.seed)
        return player.play(request)
    except (PolicyError, UnusableEnvError) as error:
        return Mistake(str(error))
    except (ImportError, gymnasium.error.DependencyNotInstalled) as error:  # a package is missing
        return Mistake(f"env.id={player.job.env.id}: {' '.join(str(error).split())}")
    except Exception as error:  # an environment of anybody's can raise anything
        phase, step, _ = player.beats.read()
        what = str(error) if isinstance(error, EnvFault) else f"{type(error).__name__}: {error}"
        player.drop()
        return Fault(step, f"{phase}: {' '.join(what.split())}")


def main() -> None:
    """Run in a process of its own: ``argv`` holds the pool's process id and two file descriptors."""
    parent, requests, shared = map(int, sys.argv[1:])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # they are for the main process, which ends this one
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if sys.platform == "linux":  # at once, also while an environment's C code holds on to the interpreter
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    end_with(parent)
    serve(Connection(requests), Beats(mmap.mmap(shared, BEAT_BYTES)))
