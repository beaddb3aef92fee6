"""The contest of an agent with PPO and random actions: who acts on what, and the table."""

from types import SimpleNamespace

import numpy as np
from gymnasium import spaces

from benchmarks.online import (
    AGENT,
    PPO,
    RANDOM,
    STACK,
    Judged,
    Pixels,
    of_run,
    random_beginner,
    stacked_beginner,
    text,
)
from worldjepa.config import TrainConfig
from worldjepa.online_record import Round
from worldjepa.settings.env import EnvConfig

BOX = spaces.Box(-1, 1, (2,))


def test_ppo_sees_the_last_frames_oldest_first_and_zeros_before_the_first():
    seen = []
    model = SimpleNamespace(predict=lambda stack, deterministic: (seen.append(stack[0, 0, 0].tolist()), None))
    act = stacked_beginner(model)(BOX)
    for value in (1, 2, 3, 4, 5):
        act(np.full((2, 4, 4, 1), value, np.uint8))
    assert STACK == 4
    assert seen == [[0, 0, 0, 1], [0, 0, 1, 2], [0, 1, 2, 3], [1, 2, 3, 4], [2, 3, 4, 5]]


def test_random_actions_are_seeded_and_differ_by_row():
    first, again = (random_beginner(3, rows=2)(spaces.Box(-1, 1, (2,))) for _ in range(2))
    frames = np.zeros((2, 4, 4, 3), np.uint8)
    actions = first(frames)
    np.testing.assert_array_equal(actions, again(frames))
    assert actions.shape == (2, 2) and not np.allclose(actions[0], actions[1])
    assert not np.allclose(actions, first(frames))


def test_ppo_learns_from_the_frames_that_are_recorded():
    env = Pixels(EnvConfig("worldjepa/Point-v0", kwargs={"image_size": 40}), 40)
    frame, _ = env.reset(seed=1)
    after, reward, *_ = env.step(np.ones(2, np.float32))
    assert env.observation_space.contains(frame) and env.observation_space.contains(after)
    assert (frame != after).any() and reward < 0


def test_the_table_adds_up_processor_time_and_names_the_circumstances():
    rounds = [
        Round(0, 100, 5, 10, 10, [-4.0, -2.0], -9.0, cpu_seconds=10.0),
        Round(1, 200, 10, 20, 20, [-2.0, -2.0], -4.0, cpu_seconds=5.5),
    ]
    agent = of_run(rounds)
    assert [one.cpu_seconds for one in agent] == [10.0, 15.5]
    found = {
        AGENT: agent,
        PPO: [Judged(100, [-8.0], 3.0), Judged(200, [-7.0], 6.0)],
        RANDOM: [Judged(0, [-9.0])],
    }
    table = text({"command": "python -m benchmarks.online"}, found, TrainConfig(), "online_pendulum.png")
    assert "- command: python -m benchmarks.online" in table
    assert "| 100 | -3.0 +- 1.4 | 10 | -8.0 +- 0.0 | 3 | -9.0 +- 0.0 |" in table
    assert "| 200 | -2.0 +- 0.0 | 16 | -7.0 +- 0.0 | 6 | -9.0 +- 0.0 |" in table
    assert table.endswith("![learning curves](online_pendulum.png)\n")
