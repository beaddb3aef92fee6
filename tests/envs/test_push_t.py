"""PushT: pictures, actions, what tells how near a goal is, and the policy that pushes the block about."""

from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

import worldjepa.envs
from worldjepa.envs.push_t import PushT

assert worldjepa.envs  # registers the ids


def made(**kwargs):
    pytest.importorskip("gym_pusht", reason="needs gym-pusht")
    return gymnasium.make("worldjepa/PushT-v0", image_size=64, **kwargs)


class Board(gymnasium.Env):
    """What the wrapper asks of gym-pusht, without physics: the disc goes to where it is sent."""

    observation_space = spaces.Box(0, 512, (5,))
    action_space = spaces.Box(0.0, 512.0, (2,), np.float32)

    def __init__(self):
        self.agent = SimpleNamespace(position=(100.0, 200.0))
        self.block = SimpleNamespace(center_of_gravity=(0.0, 45.0), local_to_world=lambda x: (256.0, 301.0))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(5), self._info()

    def step(self, action):
        self.agent.position = tuple(action)
        return np.zeros(5), np.float64(0.5), False, False, self._info()

    def _info(self):
        pose = np.array([256.0, 256.0, np.pi / 2])
        return {"block_pose": pose, "goal_pose": pose, "is_success": np.bool_(False), "pos_agent": object()}

    def _draw(self):
        pygame = pytest.importorskip("pygame")
        surface = pygame.Surface((512, 512))
        surface.fill((255, 255, 255), (0, 0, 256, 260))  # the upper left, and half of a row of pixels of 8
        return surface


def test_a_way_is_added_to_where_the_disc_is_and_kept_on_the_board():
    env = PushT(Board(), image_size=64, relative=True)
    env.reset(seed=0)
    observation, reward, terminated, _, info = env.step(np.array([0.25, -0.5], np.float32))
    assert observation["agent_pos"].tolist() == [125.0, 150.0] and (reward, terminated) == (0.5, False)
    assert info["place"].tolist() == [125.0, 150.0, 256.0, 256.0]
    np.testing.assert_allclose(info["heading"], [0.0, 1.0], atol=1e-12)
    for _ in range(5):
        info = env.step(np.array([-1.0, 1.0], np.float32))[-1]
    assert info["agent_pos"].tolist() == [15.0, 497.0]
    assert PushT(Board(), image_size=64, relative=False).step(np.array([30.0, 40.0]))[-1]["place"][0] == 30.0


def test_a_picture_shows_parts_of_pixels():
    picture = PushT(Board(), image_size=64, relative=False).render()
    assert picture.shape == (64, 64, 3) and picture.dtype == np.uint8
    assert picture[10, 10].min() == 255 and picture[40, 10].max() == 0 and picture[10, 40].max() == 0
    assert 100 < picture[32, 10].min() < 155  # row 32 is half white


def test_it_shows_smooth_pictures_and_tells_where_everything_is():
    env = made()
    observation, info = env.reset(seed=0)
    assert env.observation_space.contains(observation) and observation["pixels"].shape == (64, 64, 3)
    x, y = (observation["agent_pos"] / 8).astype(int)
    red, green, blue = observation["pixels"][y, x].astype(int)
    assert blue > 200 and red < 120 and green < 160  # the disc, where agent_pos says
    assert len(np.unique(observation["pixels"].reshape(-1, 3), axis=0)) > 20  # shades at the edges
    np.testing.assert_array_equal(info["place"], [*info["agent_pos"], *info["block_pose"][:2]])
    assert np.hypot(*info["heading"]) == pytest.approx(1.0)
    assert np.arctan2(*info["heading"][::-1]) == pytest.approx(info["block_pose"][2])
    assert info["success"] is False
    again, told = made().reset(seed=0)
    assert (again["pixels"] == observation["pixels"]).all() and (told["place"] == info["place"]).all()


def test_a_place_is_gone_to_and_a_way_is_a_place_from_where_the_disc_is():
    there, way = made(), made(relative=True)
    assert there.action_space == spaces.Box(0.0, 512.0, (2,), np.float32)
    assert way.action_space == spaces.Box(-1.0, 1.0, (2,), np.float32)
    begin = there.reset(seed=3)[1]["agent_pos"]
    way.reset(seed=3)
    _, _, _, _, one = there.step(begin + np.array([30.0, -20.0]))
    _, _, _, _, other = way.step(np.array([0.3, -0.2], np.float32))
    np.testing.assert_allclose(one["agent_pos"], other["agent_pos"], atol=1e-3)
    assert one["agent_pos"][0] > begin[0] and one["agent_pos"][1] < begin[1]


def test_the_disc_stays_on_the_board():
    env = made(relative=True)
    env.reset(seed=1)
    places = [env.step(np.array([-1.0, -1.0], np.float32))[-1]["agent_pos"] for _ in range(60)]
    np.testing.assert_allclose(places[-1], [15.0, 15.0], atol=1.0)


def test_the_script_moves_and_turns_the_block_and_follows_from_its_generator():
    paths = []
    for _ in range(2):
        env, rng = made(relative=True), np.random.default_rng(5)
        env.reset(seed=5)
        script = env.get_wrapper_attr("scripted_actions")
        paths.append(np.stack([env.step(script(rng))[-1]["block_pose"] for _ in range(100)]))
    np.testing.assert_array_equal(*paths)
    moved = np.hypot(*(paths[0][-1] - paths[0][0])[:2])
    assert moved > 60 and abs(np.diff(paths[0][:, 2])).sum() > 0.5
    assert (paths[0][:, :2] > 0).all() and (paths[0][:, :2] < 512).all()


def test_the_script_does_the_same_with_places_as_with_ways():
    ends = []
    for relative in (False, True):
        env, rng = made(relative=relative), np.random.default_rng(2)
        info = env.reset(seed=2)[1]
        for _ in range(20):
            action = env.get_wrapper_attr("scripted_actions")(rng)
            assert env.action_space.contains(action)
            info = env.step(action)[-1]
        ends.append(info["place"])
    np.testing.assert_allclose(*ends, atol=0.5)
