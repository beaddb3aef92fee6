"""Which tasks are drawn from recorded episodes, and which are dropped."""

from dataclasses import replace

import numpy as np
import pytest

from tests.evaluation.recorded import RADIUS, TWO_ROOMS, ground_of
from worldjepa.data.episodes.store import EpisodeStore
from worldjepa.evaluation.goals import Ground, draw_tasks, same_picture
from worldjepa.settings.planning import Protocol

EXPERT = Protocol("expert", goal_offset=10, budget=20, episodes=15)
RANDOM = Protocol("random", goal_offset=None, budget=40, episodes=15)


def position(store: EpisodeStore, episode: int, step: int) -> np.ndarray:
    state = store.read(episode, (), step, step).state
    assert state is not None
    return state[0]


@pytest.mark.parametrize("protocol", [EXPERT, RANDOM])
def test_tasks_lie_in_the_recording(store: EpisodeStore, ground: Ground, protocol: Protocol):
    """Goals stand where they were recorded; no start is at its goal; the wall between them is named."""
    found = draw_tasks(ground, protocol, seed=0)
    assert len(found.tasks) == 15
    for task in found.tasks:
        start, goal = position(store, *task.start), position(store, *task.goal)
        assert np.array_equal(task.at_goal.info["position"], goal)
        assert np.array_equal(task.at_goal.frame, ground.frame(task.goal))
        assert np.linalg.norm(start - goal) >= RADIUS
        assert task.group == ("across" if (start[0] < 0.5) != (goal[0] < 0.5) else "same_room")
        if protocol.goals == "expert":
            assert task.goal == (task.start.episode, task.start.step + 10)
        else:
            assert task.goal.episode != task.start.episode
    assert {task.group for task in found.tasks} == {"across", "same_room"}


def test_starts_at_the_goal_are_counted(store: EpisodeStore):
    """A wide tolerance drops more; those left are the same ones, in the same order."""
    near = draw_tasks(ground_of(store), EXPERT, seed=0)
    wide = draw_tasks(ground_of(store, tolerance=0.15), EXPERT, seed=0)
    assert wide.begun_at_goal > near.begun_at_goal
    drawn = [(task.start, task.goal) for task in near.tasks]
    far = [
        pair
        for pair in drawn
        if np.linalg.norm(position(store, *pair[0]) - position(store, *pair[1])) >= 0.15
    ]
    assert [(task.start, task.goal) for task in wide.tasks][: len(far)] == far


def test_the_seed_decides(ground: Ground):
    first, again, other = (draw_tasks(ground, EXPERT, seed=seed).starts for seed in (1, 1, 2))
    assert first == again != other


def test_expert_starts_are_spread_evenly(ground: Ground):
    """15 starts in 12 episodes: none has more than two."""
    counts = np.bincount([place.episode for place in draw_tasks(ground, EXPERT, seed=5).starts])
    assert counts.max() <= 2


def test_another_environment_than_the_recorded_one_is_refused(store: EpisodeStore):
    other = replace(TWO_ROOMS, kwargs=TWO_ROOMS.kwargs | {"speed": 12.0})
    with pytest.raises(
        ValueError, match=r"not found again by replaying in worldjepa/TwoRooms-v0.*deterministic"
    ):
        draw_tasks(ground_of(store, other), EXPERT, seed=0)


def test_episodes_that_are_too_short_are_refused(store: EpisodeStore):
    with pytest.raises(ValueError, match="lasts 41 steps"):
        draw_tasks(ground_of(store), replace(EXPERT, goal_offset=41), seed=0)


def test_every_start_is_drawn_once(store: EpisodeStore):
    """Episode 2 has 38 steps: 38 - 30 + 1 starts, fewer than are asked for."""
    found = draw_tasks(replace(ground_of(store), ids=[2]), replace(EXPERT, goal_offset=30), seed=0)
    steps = [task.start.step for task in found.tasks]
    assert len(steps) == len(set(steps)) == 9 - found.begun_at_goal > 0


def test_small_differences_of_rendering_are_the_same_picture(ground: Ground):
    frame = ground.frame(draw_tasks(ground, EXPERT, seed=0).starts[0])
    assert same_picture(frame, np.clip(frame.astype(int) + 3, 0, 255).astype(np.uint8))
    assert not same_picture(frame, np.roll(frame, 3, axis=0))
    assert not same_picture(frame, frame[:16])
