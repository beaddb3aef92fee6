"""What is filmed of an evaluation: failures first, what happened, what was imagined."""

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch

from tests.planning.stub_world import StubWorld
from worldjepa.build_planner import build_controller
from worldjepa.data.video.reader import read_clip
from worldjepa.evaluation.film import Reel, choose, contact_sheet, shoot, write_film
from worldjepa.evaluation.goals import Ground, draw_tasks
from worldjepa.evaluation.players import Planner, Played, copied, play
from worldjepa.settings.planning import PlanningConfig, Protocol

BOX = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
EXPERT = Protocol("expert", goal_offset=9, budget=12, episodes=4)


def played(steps: list[int]) -> Played:
    return Played(np.array(steps), np.zeros((len(steps), 1, 2), np.float32))


def test_half_of_the_places_are_for_failures():
    some = played([3, 0, 4, 0, 5, 0, 6])
    assert choose(some, 4).tolist() == [1, 3, 0, 2]
    assert choose(some, 6).tolist() == [1, 3, 5, 0, 2, 4]
    assert choose(played([0, 0, 0]), 2).tolist() == [0, 1]
    assert choose(played([1, 2, 0]), 9).tolist() == [2, 0, 1]
    assert choose(some, 0).tolist() == []


def test_reels_show_what_happened_and_what_was_promised(ground: Ground):
    """The stub's latent is a place, its pixel head draws it: promises are sums of planned moves."""
    tasks = draw_tasks(ground, EXPERT, seed=0)
    world: Any = StubWorld(side=32, action_block=3)
    world.encode = lambda frames: torch.zeros(*frames.shape[:2], 1, 2)
    world.rollout = lambda latents, actions, past_actions: world.futures(
        world.start(latents), actions[:, None]
    )[:, 0]
    world.heads = {"pixels": lambda latents: latents[..., 0, :1, None, None].expand(-1, -1, 3, 8, 8)}
    rng = np.random.default_rng(0)
    plans = [rng.uniform(0, 0.1, (4, 2, 6)).astype(np.float32) for _ in range(4)]
    controller = build_controller(PlanningConfig(history=2), world, space=BOX, seed=0)
    planner = Planner(controller, tasks.goal_frames(), plans=plans)
    found = play(ground, tasks, copied(ground, tasks, budget=12), budget=12)
    reels = shoot(ground, tasks, found, planner, world, [2, 0])
    for row, reel in zip((2, 0), reels, strict=True):
        task, steps = tasks.tasks[row], int(found.steps[row])
        assert len(reel.real) == steps + 1
        recorded = [ground.frame(task.start._replace(step=task.start.step + i)) for i in range(steps + 1)]
        assert np.array_equal(reel.real, np.stack(recorded))
        assert np.array_equal(reel.goal, ground.frame(task.goal))
        assert f"{task.group}, episode {task.start.episode}" in reel.title
        assert reel.title.endswith(f"reached after {steps} steps")
        assert reel.imagined is not None and reel.promised is not None
        moment = min(4, steps)  # in the second block
        plan = plans[moment // 3][row].reshape(2, 3, 2)[..., 0]
        assert abs(int(reel.imagined[moment, 0, 0, 0]) - 255 * plan[0].sum()) <= 1
        assert abs(int(reel.promised[moment, 0, 0, 0]) - 255 * plan.sum()) <= 1


def test_sheet_and_film_hold_every_reel(tmp_path: Path):
    """The third reel lacks imagination; the film lasts as long as the longest episode and a second more."""
    shade = lambda value, count: np.full((count, 16, 16, 3), value, np.uint8)  # noqa: E731
    full = Reel("a", shade(10, 1)[0], shade(90, 6), shade(150, 6), shade(200, 6))
    reels = [full, full, Reel("b", shade(10, 1)[0], shade(90, 14))]
    sheet = np.asarray(contact_sheet(reels))
    shown = [int((sheet == value).all(axis=2).sum()) / 64**2 for value in (90, 150, 200)]
    assert np.allclose(shown, [6 + 6 + 11, 12, 12], atol=0.01)  # letters have a few such pixels too
    write_film(tmp_path / "film.mp4", reels)
    last = read_clip(tmp_path / "film.mp4", indices=[0, 14 + 9])
    assert last.shape[2:] == (2 * 152, 2 * 404)
    row, column = 100, 350  # in the real frame of the first reel
    assert abs(int(last[1, 0, row, column]) - 90) < 6
    assert abs(int(last[1, 0, row, column - 132]) - 150) < 6  # imagined, beside it
