"""Who tries to reach the goals: a planner, and the baselines that its figure has to be read beside."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float32, Int

from worldjepa.data.collection.policies import begin_random
from worldjepa.evaluation.arena import Arena
from worldjepa.evaluation.goals import Ground, Tasks
from worldjepa.planning.controller import MPCController
from worldjepa.seeding import derive_seed

# (environments, step of the budget, which rows still try) -> actions as environments take them
Act = Callable[[Arena, int, Bool[np.ndarray, " n"]], np.ndarray]


@dataclass(frozen=True, eq=False)
class Played:
    """What came of ``n`` tasks.

    ``steps [n]``: after how many environment steps the goal was reached, 0 where it was not. ``actions``:
    what was done, in model form.
    """

    steps: Int[np.ndarray, " n"]
    actions: Float32[np.ndarray, "n k a"]

    @property
    def reached(self) -> Bool[np.ndarray, " n"]:
        """Which goals were reached."""
        return self.steps > 0


def play(ground: Ground, tasks: Tasks, act: Act, *, budget: int) -> Played:
    """Let ``act`` try all tasks at once; a goal counts as reached at any step of the budget."""
    steps = np.zeros(len(tasks.tasks), np.int64)
    done = []
    with ground.arena(len(steps)) as arena:
        ground.go_to(arena, tasks.starts)
        for step in range(budget):
            trying = ~arena.over & (steps == 0)
            actions = act(arena, step, trying)
            arena.step(actions)
            done.append(arena.spec.from_env(actions))
            for row in np.flatnonzero(trying).tolist():
                if ground.success.reached(arena.info(row), tasks.tasks[row].at_goal.info):
                    steps[row] = step + 1
            if (arena.over | (steps > 0)).all():
                break
    return Played(steps, np.stack(done, axis=1))


def no_op(arena: Arena, step: int, trying: Bool[np.ndarray, " n"]) -> np.ndarray:
    """Do nothing: the action nearest to zero, or the first choice."""
    return arena.spec.to_env(np.zeros((arena.rows, arena.spec.dim)))


def random_actions(seed: int) -> Act:
    """Return one that draws every action from the action space, each row by itself."""
    policies = []

    def act(arena: Arena, step: int, trying: Bool[np.ndarray, " n"]) -> np.ndarray:
        while len(policies) < arena.rows:
            generator = np.random.default_rng(derive_seed(seed, len(policies)))
            policies.append(begin_random(arena.env.single_action_space, generator, None))
        return np.stack([policy(None, {}) for policy in policies])

    return act


def copied(ground: Ground, tasks: Tasks, *, budget: int) -> Act:
    """Return one that does what the behaviour did after each start, as far as that was recorded.

    It reaches every expert goal within its offset: a check of the replay. Beyond the recording it is idle.
    """
    recorded = [ground.actions(place.episode, place.step + budget, place.step) for place in tasks.starts]

    def act(arena: Arena, step: int, trying: Bool[np.ndarray, " n"]) -> np.ndarray:
        vectors = np.zeros((arena.rows, arena.spec.dim), np.float32)
        for row, actions in enumerate(recorded):
            if step < len(actions):
                vectors[row] = actions[step]
        return arena.spec.to_env(vectors)

    return act


@dataclass(eq=False)
class Planner:
    """Plans toward goals: pictures ``[n y x 3]`` for a world model, states ``[n 1 z]`` for the oracle.

    ``milliseconds``: how long each planning call took, and for how many environments; ``plans``: action
    blocks ``[n l a]`` of each call, 0 where none was made.
    """

    controller: MPCController
    goals: np.ndarray
    milliseconds: list[tuple[float, int]] = field(default_factory=list)
    plans: list[np.ndarray] = field(default_factory=list)

    def __call__(self, arena: Arena, step: int, trying: Bool[np.ndarray, " n"]) -> np.ndarray:
        """Return the next actions; rows that no longer try stand still."""
        observation = {"pixels": arena.frames, "room": np.arange(arena.rows)}
        for name in ("proprioception", "state"):
            if (values := getattr(arena, name)) is not None:
                observation[name] = values
        before = self.controller.planned
        actions = self.controller.act(observation, self.goals, trying)
        planned = self.controller.planned
        if planned is not None and planned is not before:
            found = planned.plan.actions.float().cpu().numpy()
            plans = np.zeros((arena.rows, *found.shape[1:]), found.dtype)
            plans[list(planned.rows)] = found
            self.plans.append(plans)
            self.milliseconds.append((planned.milliseconds, len(planned.rows)))
        return actions
