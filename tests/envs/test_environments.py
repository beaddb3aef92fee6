"""The registered environments: Gymnasium's contract, seeds, goals, success, vector against single ones."""

import subprocess
import sys
import warnings
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import worldjepa.envs
from worldjepa.envs.dot_world import DotSettings
from worldjepa.envs.geometry import Geometry
from worldjepa.envs.point import SHEET

IDS = ("worldjepa/TwoRooms-v0", "worldjepa/Point-v0")
VARIANTS = [
    ("worldjepa/TwoRooms-v0", {}),
    ("worldjepa/TwoRooms-v0", {"image_size": 33, "random_wall": True, "random_door": True, "speed": 10.5}),
    ("worldjepa/TwoRooms-v0", {"distractors": True, "show_goal": True, "reward": "distance"}),
    ("worldjepa/TwoRooms-v0", {"end_on_success": False, "image_size": 16}),
    ("worldjepa/Point-v0", {"end_on_success": True}),
]


def vector(name: str, num_envs: int, **kwargs) -> Any:
    return gymnasium.make_vec(name, num_envs=num_envs, vectorization_mode="vector_entry_point", **kwargs)


def bare(name: str, **kwargs) -> Any:
    return gymnasium.make(name, **kwargs).unwrapped


def assert_same(ours, theirs, path: str = "") -> None:
    """Compare observations or infos, also nested ones, bit by bit."""
    if isinstance(theirs, dict):
        assert set(ours) == set(theirs), path
        for key in theirs:
            assert_same(ours[key], theirs[key], f"{path}/{key}")
    elif isinstance(theirs, np.ndarray) and theirs.dtype == object:
        assert ours.dtype == object and ours.shape == theirs.shape, path
        for mine, other in zip(ours, theirs, strict=True):
            assert_same(mine, other, path)
    elif isinstance(theirs, np.ndarray):
        assert ours.dtype == theirs.dtype, path
        np.testing.assert_array_equal(ours, theirs, err_msg=path)
    elif isinstance(theirs, tuple):
        for mine, other in zip(ours, theirs, strict=True):
            assert_same(mine, other, path)
    else:
        assert ours == theirs, path


@pytest.mark.parametrize("name", IDS)
def test_gymnasium_finds_nothing_to_warn_of(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = gymnasium.make(name, render_mode="rgb_array")
        check_env(env.unwrapped)
        env.reset(seed=0)
        for _ in range(25):
            *_, terminated, truncated, _ = env.step(env.action_space.sample())
            if terminated or truncated:
                env.reset()
        vectors = vector(name, 2)
    assert vectors.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    assert env.observation_space.dtype == np.uint8
    shape = (64, 64, 3) if name == IDS[0] else (16, 16, 3)
    assert env.observation_space.shape == np.asarray(env.render()).shape == shape
    assert env.action_space == gymnasium.spaces.Box(-1, 1, (2,))


@pytest.mark.parametrize("mode", AutoresetMode)
@pytest.mark.parametrize(("name", "kwargs"), VARIANTS)
def test_a_vector_environment_is_single_ones_bit_by_bit(name, kwargs, mode):
    steps = 12
    kwargs = {**kwargs, "max_episode_steps": steps}
    ours = vector(name, 3, autoreset_mode=mode, **kwargs)
    theirs = SyncVectorEnv([lambda: gymnasium.make(name, **kwargs)] * 3, autoreset_mode=mode)
    assert_same(ours.reset(seed=11), theirs.reset(seed=11))
    rng = np.random.default_rng(0)
    ended = 0
    for _ in range(3 * steps):
        actions = rng.uniform(-1.2, 1.2, (3, 2)).astype(np.float32)
        mine, other = ours.step(actions), theirs.step(actions)
        for left, right in zip(mine, other, strict=True):
            assert_same(left, right)
        done = mine[2] | mine[3]
        ended += done.sum()
        if mode is AutoresetMode.DISABLED and done.any():
            options = {"reset_mask": done}
            assert_same(ours.reset(options=dict(options)), theirs.reset(options=dict(options)))
    assert ended >= 3


def test_scripted_actions_of_a_row_are_those_of_its_environment_alone():
    ours, singles = vector(IDS[0], 2), [bare(IDS[0]) for _ in range(2)]
    ours.reset(seed=5)
    for row, env in enumerate(singles):
        env.reset(seed=5 + row)
    rngs, others = ([np.random.default_rng(row) for row in range(2)] for _ in range(2))
    for _ in range(30):
        actions = ours.unwrapped.scripted_actions(rngs)
        for env, rng, action in zip(singles, others, actions, strict=True):
            assert_same(env.scripted_actions(rng), action)
            env.step(action)
        ours.step(actions)
    with pytest.raises(ValueError, match="one for each of 2 rows, got 1"):
        ours.unwrapped.scripted_actions(rngs[:1])


def test_the_scripted_policy_crosses_the_door_and_is_everywhere():
    env = vector(IDS[0], 300, image_size=8, end_on_success=False, max_episode_steps=101)
    _, info = env.reset(seed=0)
    rng = np.random.default_rng(0)
    positions = [info["position"]]
    for _ in range(100):
        positions.append(env.step(env.unwrapped.scripted_actions(rng))[-1]["position"])
    left = np.stack(positions)[:, :, 0] < 0.5
    assert (left[1:] != left[:-1]).any(axis=0).mean() > 0.6  # of episodes at the public speed
    x, y = np.concatenate(positions).T * 224
    visits, *_ = np.histogram2d(x, y, bins=[8, 8], range=[[21, 203], [21, 203]])
    assert visits.min() > 0.05 * visits.mean()


def test_a_recorded_state_is_set_exactly():
    env = bare(IDS[0], random_wall=True, random_door=True, end_on_success=False)
    frame, info = env.reset(seed=0)
    rng = np.random.default_rng(1)
    for _ in range(20):
        frame, *_, info = env.step(env.scripted_actions(rng))
    other = bare(IDS[0])
    options = {"state": info["position"], "goal": (0.3, 0.8), "wall": info["wall"], "door": info["door"]}
    restored, told = other.reset(seed=99, options=options)
    assert_same(restored, frame)
    assert_same(told["position"], info["position"])
    assert told["goal"].tolist() == np.array([0.3, 0.8], np.float32).tolist()
    assert_same(told["goal_frame"], other.render_positions(np.array([(0.3, 0.8)]))[0])
    action = np.array([0.4, -0.9], np.float32)
    assert_same(other.step(action)[0], env.step(action)[0])
    assert_same(other.set_state(info["position"]), frame)
    batch = vector(IDS[0], 2)
    _, told = batch.reset(seed=0, options={"state": [(0.2, 0.3), (0.8, 0.4)], "goal": (0.2, 0.5)})
    assert told["position"].tolist() == np.array([(0.2, 0.3), (0.8, 0.4)], np.float32).tolist()
    assert told["group"].tolist() == ["same_room", "across"]
    frames = batch.unwrapped.render_positions(np.full((2, 2), (0.2, 0.5)))
    assert_same(frames, told["goal_frame"])


def test_success_reward_and_end():
    goal = np.array([0.3, 0.5])
    near, far = goal + (15.9 / 224, 0), goal - (0, 16.1 / 224)
    still = np.zeros(2, np.float32)
    for ends in (True, False):
        env = bare(IDS[0], end_on_success=ends)
        env.reset(seed=0, options={"state": far, "goal": goal})
        assert env.step(still)[1:3] == (0.0, False)
        env.set_state(near)
        _, reward, terminated, truncated, info = env.step(still)
        assert (reward, terminated, truncated, info["success"]) == (1.0, ends, False, True)
    point = bare(IDS[1])
    point.reset(seed=0, options={"state": (0.5, 0.5), "goal": (0.8, 0.1)})
    assert point.step(still)[1] == pytest.approx(-0.5)


def test_starts_and_goals():
    env = vector(IDS[0], 2000, image_size=8, random_wall=True)
    _, info = env.reset(seed=0)
    away = np.hypot(*(info["start"] - info["goal"]).T) * 224
    assert away.min() > 16
    for name in ("start", "goal"):
        assert (np.abs(info[name][:, 0] - info["wall"]) * 224 >= 11.999).all()
        assert info[name].min() * 224 >= 20.999 and info[name].max() * 224 <= 203.001
    assert 0.3 <= info["wall"].min() < 0.31 and 0.69 < info["wall"].max() <= 0.7
    assert (info["door"] == np.float32(49 / 224)).all()
    assert 0.3 < (info["group"] == "across").mean() < 0.6
    assert_same(info["position"], info["start"])


def test_distractors_move_and_leave_the_task_alone():
    plain, noisy = (gymnasium.make(IDS[0], distractors=kind) for kind in (False, True))
    (clean, info), (frame, told) = plain.reset(seed=3), noisy.reset(seed=3)
    assert_same(told["goal"], info["goal"])
    still = np.zeros(2, np.float32)
    first, second = (noisy.step(still)[0].astype(int) for _ in range(2))
    assert 3 < np.abs(first - second).mean() < 40  # noise and drift
    assert np.abs(frame.astype(int) - clean).mean() > 10
    wall = clean.max(axis=-1) == 0
    assert first[wall].max() <= 12  # what is black stays so, but for the noise


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda env: env.step(np.zeros((3, 2))), r"shape \(2, 2\), got \(3, 2\)"),
        (lambda env: env.step(np.full((2, 2), np.nan)), "must be finite"),
        (lambda env: env.reset(seed=[1, 2, 3]), "one seed for each of 2 environments, got 3"),
        (lambda env: env.reset(options={"reset_mask": np.zeros(2, bool)}), "at least one True"),
        (lambda env: env.reset(options={"state": (0.5, 1.5)}), r"shares of the image width in \[0, 1\]"),
        (
            lambda env: env.reset(options={"goal": np.zeros((3, 2))}),
            r"'goal'.* shape \(2, 2\) or \(2,\), got \(3, 2\)",
        ),
    ],
)
def test_wrong_calls_say_what_was_expected(call, words):
    env = vector(IDS[0], 2)
    env.reset(seed=0)
    with pytest.raises(ValueError, match=words):
        call(env)


def test_an_ended_row_is_not_stepped_on_where_autoreset_is_disabled():
    env = vector(IDS[1], 2, autoreset_mode="Disabled", max_episode_steps=1)
    env.reset(seed=0)
    env.step(np.zeros((2, 2)))
    with pytest.raises(ValueError, match=r"rows \[0, 1\] have ended"):
        env.step(np.zeros((2, 2)))


def test_wrong_settings_are_refused():
    for wrong in ({"image_size": 4}, {"speed": 0.0}, {"reward": "sucess"}):
        with pytest.raises(ValueError, match=r"must be|speed is"):
            DotSettings(**{"geometry": SHEET, "image_size": 16, "speed": 5.0, **wrong})
    with pytest.raises(ValueError, match="num_envs must be at least 1"):
        vector(IDS[1], 0)
    with pytest.raises(TypeError, match="random_dor"):
        gymnasium.make(IDS[0], random_dor=True)
    assert Geometry().door_range == (28, 196)


def test_ids_need_no_torch():
    script = (
        "import sys, gymnasium, worldjepa.envs\n"
        f"[gymnasium.make(name).reset(seed=0) for name in {IDS}]\n"
        "sys.exit('torch' in sys.modules)"
    )
    root = str(worldjepa.__path__[0]) + "/.."
    assert subprocess.run([sys.executable, "-c", script], cwd=root, check=False).returncode == 0
