"""Goal-reaching tasks out of recorded episodes: from a recorded moment to a recorded picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, UInt8

from worldjepa.data.episodes.episode import Episodes
from worldjepa.evaluation.arena import Arena, make_vector_env
from worldjepa.evaluation.success import Success
from worldjepa.settings.env import EnvConfig
from worldjepa.settings.planning import Protocol

DRAWS = 5  # times the episodes asked for are drawn at most, to make up for those that are dropped
SAME = 32  # of 255: how far a replayed pixel may be from the recorded one (blurred edges, rounded actions)
OTHER = 0.002  # the share of pixels from which on a replayed picture is another one than the recorded


class NoTasksError(ValueError):
    """There is nothing to judge by."""


class Place(NamedTuple):
    """Observation ``step`` of a recorded episode."""

    episode: int
    step: int


@dataclass(frozen=True, eq=False)
class Seen:
    """What replaying showed at a place: the picture, ``info``, and the true state where it is named."""

    frame: UInt8[np.ndarray, "y x 3"]
    info: dict[str, Any]
    state: Float32[np.ndarray, " z"] | None


@dataclass(frozen=True, eq=False)
class Task:
    """A start and a goal. ``group``: what the environment calls its kind, if it does."""

    start: Place
    goal: Place
    at_start: Seen
    at_goal: Seen
    group: str | None = None


@dataclass(frozen=True, eq=False)
class Tasks:
    """What is to be done, and how many tasks were drawn and dropped.

    ``begun_at_goal``: there was nothing to do; ``not_reproduced``: replaying led elsewhere.
    """

    tasks: list[Task]
    begun_at_goal: int
    not_reproduced: int

    @property
    def starts(self) -> list[Place]:
        """Where each begins."""
        return [task.start for task in self.tasks]

    def goal_frames(self) -> UInt8[np.ndarray, "n y x 3"]:
        """Return the pictures of the goals."""
        return np.stack([task.at_goal.frame for task in self.tasks])

    def goal_states(self) -> Float32[np.ndarray, "n z"] | None:
        """Return the true states at the goals, where they are named."""
        return _states([task.at_goal for task in self.tasks])


@dataclass(frozen=True)
class Ground:
    """Where tasks come from: recorded episodes ``ids``, and the environment that they were recorded in."""

    episodes: Episodes
    ids: list[int]
    env: EnvConfig
    success: Success
    group: str = "group"
    past_end: bool = False

    def arena(self, rows: int) -> Arena:
        """Return environments that show pictures as they were recorded."""
        return Arena(self.env, rows, size=self.episodes.spec.frame_size[0], past_end=self.past_end)

    def go_to(self, arena: Arena, places: Sequence[Place]) -> None:
        """Take the rows of an arena to ``places``."""
        known = self.episodes.seeds
        seeds = [known[place.episode] for place in places]
        if None in seeds:
            raise ValueError(
                f"{self.episodes.root} does not say which seeds its episodes were reset with, so that they "
                "cannot be replayed; collect some with python -m worldjepa.collect and name them by data.root"
            )
        arena.replay([seed for seed in seeds if seed is not None], [self.actions(*place) for place in places])

    def actions(self, episode: int, stop: int, start: int = 0) -> Float32[np.ndarray, "k a"]:
        """Return the recorded actions of steps ``start`` to ``stop - 1``, as far as the episode goes."""
        stop = min(stop, int(self.episodes.lengths[episode]))
        return self.episodes.read(episode, (), start, stop).actions

    def frame(self, place: Place) -> UInt8[np.ndarray, "y x 3"]:
        """Return the recorded picture."""
        frames = self.episodes.read(place.episode, (place.step,), 0, 0).frames
        return np.moveaxis(frames[0], 0, -1)


def draw_tasks(ground: Ground, protocol: Protocol, *, seed: int) -> Tasks:
    """Draw ``protocol.episodes`` tasks, or as many as there are; the same ones for the same seed.

    Raises:
        NoTasksError: no episode is long enough, all starts are at their goals, or replaying leads elsewhere
            than where the recording went.
    """
    pairs = _pairs(ground, protocol, np.random.default_rng(seed))
    count = protocol.episodes
    kept: list[Task] = []
    begun_at_goal = not_reproduced = 0
    with ground.arena(count) as arena:
        for task in islice(_seen(ground, arena, pairs), DRAWS * count):
            if not _reproduced(ground, task):
                not_reproduced += 1
            elif ground.success.reached(task.at_start.info, task.at_goal.info):
                begun_at_goal += 1
            else:
                kept.append(task)
            if len(kept) == count:
                break
    if len(kept) < max(1, not_reproduced):
        raise NoTasksError(
            f"of the tasks drawn from {ground.episodes.root}, {not_reproduced} were not found again by "
            f"replaying in {ground.env.id}, {begun_at_goal} began at the goal, {len(kept)} are left; the "
            "environment has to be deterministic, and made as for collecting (env.kwargs, env.pixels)"
        )
    return Tasks(_labelled(ground, kept), begun_at_goal, not_reproduced)


def _pairs(ground: Ground, protocol: Protocol, rng: np.random.Generator) -> Iterator[tuple[Place, Place]]:
    """Draw starts and goals.

    Expert goals: one episode after the other in random order, each with a random start, and again until all
    starts are used up. Random goals: two recorded observations of different episodes, all equally likely.
    """
    lengths, offset = ground.episodes.lengths, protocol.goal_offset or 1
    long = [number for number in ground.ids if lengths[number] >= offset]
    if not long:
        raise NoTasksError(
            f"none of the {len(ground.ids)} episodes to judge by ({ground.episodes.root}) lasts {offset} "
            "steps: set plan.goal_offset, or name others by data.root"
        )
    if protocol.goals == "expert":
        starts = {number: rng.permutation(lengths[number] - offset + 1).tolist() for number in long}
        while starts := {number: left for number, left in starts.items() if left}:
            for number in rng.permutation(list(starts)).tolist():
                step = starts[number].pop()
                yield Place(number, step), Place(number, step + offset)
    shares = (lengths[long] + 1) / (lengths[long] + 1).sum()
    while protocol.goals == "random":
        ends = [
            Place(number, int(rng.integers(lengths[number] + 1)))
            for number in rng.choice(long, 2, p=shares).tolist()
        ]
        if ends[0].episode != ends[1].episode or len(long) == 1:
            yield ends[0], ends[1]


def _seen(ground: Ground, arena: Arena, pairs: Iterator[tuple[Place, Place]]) -> Iterator[Task]:
    """Look at starts and goals, as many at a time as the arena has rows."""
    while drawn := list(islice(pairs, arena.rows)):
        idle = drawn[-1:] * (arena.rows - len(drawn))
        views = [_visit(ground, arena, places) for places in zip(*drawn, *idle, strict=True)]
        for (start, goal), at_start, at_goal in zip(drawn, *views, strict=False):
            yield Task(start, goal, at_start, at_goal)


def _visit(ground: Ground, arena: Arena, places: Sequence[Place]) -> list[Seen]:
    ground.go_to(arena, places)
    states = [None] * arena.rows if arena.state is None else list(arena.state.copy())
    infos = map(arena.info, range(arena.rows))
    return [Seen(*parts) for parts in zip(arena.frames.copy(), infos, states, strict=True)]


def _reproduced(ground: Ground, task: Task) -> bool:
    shown = ((task.start, task.at_start), (task.goal, task.at_goal))
    return all(same_picture(ground.frame(place), seen.frame) for place, seen in shown)


def same_picture(one: UInt8[np.ndarray, "y x 3"], other: UInt8[np.ndarray, "y2 x2 3"]) -> bool:
    """Tell whether two pictures show the same moment; small differences of rendering do not count."""
    if one.shape != other.shape:
        return False
    far = np.abs(one.astype(np.int16) - other).max(axis=-1) > SAME
    return float(far.mean()) < OTHER


def _states(seen: Sequence[Seen]) -> Float32[np.ndarray, "n z"] | None:
    states = [one.state for one in seen if one.state is not None]
    return np.stack(states) if len(states) == len(seen) else None


def offers_state(env: Any) -> bool:
    """Tell whether a vector environment can be set to a true state (``set_state``)."""
    return callable(getattr(env.unwrapped, "set_state", None))


def _labelled(ground: Ground, tasks: list[Task]) -> list[Task]:
    """Let the environment name the kind of each task, if it can begin an episode with its start and goal.

    That is what ``reset(options={"state": ..., "goal": ...})`` is asked for, with the seed of the start.
    """
    start, goal = _states([task.at_start for task in tasks]), _states([task.at_goal for task in tasks])
    if start is None or goal is None:
        return tasks
    env = make_vector_env(ground.env, len(tasks))
    try:
        if not offers_state(env):
            return tasks
        known = ground.episodes.seeds
        seeds: Any = [known[task.start.episode] for task in tasks]
        names = env.reset(seed=seeds, options={"state": start, "goal": goal})[1].get(ground.group)
    finally:
        env.close()
    if names is None:
        return tasks
    return [replace(task, group=str(name)) for task, name in zip(tasks, names, strict=True)]
