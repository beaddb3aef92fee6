"""Environments are taken to recorded moments by replaying, whatever kind they are."""

from dataclasses import replace

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import SyncVectorEnv

import tests.data.made_envs  # noqa: F401 (registers environments)
from tests.evaluation.recorded import TWO_ROOMS
from worldjepa.data.episodes.store import EpisodeStore
from worldjepa.evaluation.arena import Arena
from worldjepa.evaluation.goals import Ground, Place
from worldjepa.settings.env import EnvConfig

NOISY = {"distractors": True, "random_wall": True, "random_door": True}
STOPS = (0, 7, 39, 20, 39)  # of episodes of 40, 39, 38 ... steps


@pytest.mark.parametrize("kwargs", [{}, NOISY])
@pytest.mark.parametrize("batched", [True, False])
def test_rows_arrive_at_their_moments_together(kwargs: dict, batched: bool, monkeypatch: pytest.MonkeyPatch):
    """Also where noise is drawn with every frame; in a vector environment and in single ones."""
    if not batched:
        monkeypatch.setattr("worldjepa.evaluation.arena.make_batch", lambda env, rows: None)
    env = replace(TWO_ROOMS, kwargs=TWO_ROOMS.kwargs | kwargs)
    rng = np.random.default_rng(0)
    actions = [rng.uniform(-1, 1, (stop, 2)).astype(np.float32) for stop in STOPS]
    with Arena(env, len(STOPS), size=32) as arena:
        assert isinstance(arena.env, SyncVectorEnv) is not batched
        for _ in range(2):  # a second time: nothing of the first is left
            arena.replay(range(len(STOPS)), actions)
            for row, part in enumerate(actions):
                alone = gymnasium.make("worldjepa/TwoRooms-v0", **env.kwargs)
                frame, info = alone.reset(seed=row)
                for action in part:
                    frame, _, _, _, info = alone.step(action)
                assert np.array_equal(arena.frames[row], frame)
                assert np.array_equal(arena.info(row)["position"], info["position"])
                assert arena.state is not None
                assert np.array_equal(arena.state[row], info["position"])


def test_rows_that_are_over_stay_as_they_were_and_the_others_go_on():
    """Episodes of the made environment have 4 steps; its picture shows their number."""
    env = EnvConfig(id="made/Made-v0", state=["position"])
    with Arena(env, 2, size=10) as arena:
        arena.replay([5, 6], [np.zeros((3, 2), np.float32), np.zeros((0, 2), np.float32)])
        assert [int(frame[0, 0, 0]) for frame in arena.frames] == [30, 0]
        ends = arena.info(0)["position"] + 1
        for _ in range(3):
            arena.step(np.ones((2, 2), np.float32))
        assert arena.over.tolist() == [True, False]
        assert [int(frame[0, 0, 0]) for frame in arena.frames] == [40, 30]
        assert np.array_equal(arena.info(0)["position"], ends)


def test_past_the_end_steps_go_on():
    with Arena(EnvConfig(id="made/Made-v0"), 2, size=10, past_end=True) as arena:
        arena.replay([5, 6], [np.zeros((3, 2), np.float32), np.zeros((6, 2), np.float32)])
        arena.step(np.ones((2, 2), np.float32))
        arena.step(np.ones((2, 2), np.float32))
        assert not arena.over.any()
        assert [int(frame[0, 0, 0]) for frame in arena.frames] == [50, 80]


def test_the_recorded_frames_are_met(store: EpisodeStore, ground: Ground):
    places = [Place(number, 3 * number) for number in range(8)]
    with ground.arena(len(places)) as arena:
        ground.go_to(arena, places)
        for row, place in enumerate(places):
            assert np.array_equal(arena.frames[row], ground.frame(place))
            recorded = store.read(place.episode, (), place.step, place.step).state
            assert recorded is not None and arena.state is not None
            assert np.array_equal(arena.state[row], recorded[0])


def test_actions_of_another_environment_are_refused():
    words = "have 3 numbers an environment step, and those of this"
    with Arena(TWO_ROOMS, 1, size=32) as arena, pytest.raises(ValueError, match=words):
        arena.replay([0], [np.zeros((2, 3), np.float32)])
