"""One protocol after the other: draw its tasks, let planner and baselines try them, count."""

from __future__ import annotations

import logging
import time
from dataclasses import asdict, dataclass, replace
from typing import Any

from worldjepa.build_planner import build_controller
from worldjepa.evaluation.arena import make_vector_env
from worldjepa.evaluation.film import Reel, choose, shoot
from worldjepa.evaluation.goals import Ground, Tasks, draw_tasks, offers_state
from worldjepa.evaluation.oracle import OracleWorld
from worldjepa.evaluation.players import Act, Planner, Played, copied, no_op, play, random_actions
from worldjepa.evaluation.report import outcome
from worldjepa.model.world_model import WorldModel
from worldjepa.seeding import derive_seed
from worldjepa.settings.planning import PROTOCOLS, PlanningConfig, Protocol

logger = logging.getLogger(__name__)
GRADIENT = ("gradient", "refined_cem")  # planners that a simulator cannot serve


@dataclass(frozen=True, eq=False)
class Scene:
    """How a protocol went: enough to look at it again."""

    ground: Ground
    tasks: Tasks
    played: Played
    planner: Planner

    def shoot(self, model: WorldModel, count: int) -> list[Reel]:
        """Film ``count`` of the tasks, failures first."""
        rows = choose(self.played, count).tolist()
        return shoot(self.ground, self.tasks, self.played, self.planner, model, rows) if rows else []


class Judge:
    """Puts a world model and the baselines to the same tasks; the same ones for the same ``seed``."""

    def __init__(self, planning: PlanningConfig, ground: Ground, model: WorldModel, seed: int):
        self.planning, self.ground, self.model, self.seed = planning, ground, model, seed
        env = make_vector_env(ground.env, 1)
        self._space = env.single_action_space
        self._simulable = offers_state(env) and bool(ground.env.state) and planning.planner not in GRADIENT
        env.close()

    def ask(self, name: str) -> tuple[dict[str, Any], Scene]:
        """Return what planner and baselines reach under the protocol ``name``, as settings change it.

        Raises:
            ValueError: there are no such tasks, or settings do not fit model and environment.
        """
        return self._ask(name, self._protocol(name))

    def ask_offset(self, offset: int) -> dict[str, Any]:
        """Return what the planner reaches at another goal offset, with a budget that grows with it."""
        protocol = self._protocol(self.planning.protocol)
        assert protocol.goal_offset is not None
        budget = max(1, round(protocol.budget * offset / protocol.goal_offset))
        name = f"{self.planning.protocol} at {offset} steps"
        return self._ask(name, replace(protocol, goal_offset=offset, budget=budget), baselines=False)[0]

    def _protocol(self, name: str) -> Protocol:
        """Return the named protocol; the settings change the main one, and how many episodes there are."""
        planning, protocol = self.planning, PROTOCOLS[name]
        names = ("episodes", "goal_offset", "budget") if name == planning.protocol else ("episodes",)
        given = {one: getattr(planning, one) for one in names}
        return replace(protocol, **{one: value for one, value in given.items() if value is not None})

    def _ask(self, name: str, protocol: Protocol, *, baselines: bool = True) -> tuple[dict[str, Any], Scene]:
        tasks = draw_tasks(self.ground, protocol, seed=self.seed)
        planner = self._planner(self.model, tasks)
        played = self._play(f"{name}: planner", tasks, planner, protocol.budget)
        found = {
            "protocol": name,
            **asdict(protocol),
            "drawn": len(tasks.tasks) + tasks.begun_at_goal + tasks.not_reproduced,
            "begun_at_goal": tasks.begun_at_goal,
            "not_reproduced": tasks.not_reproduced,
            **outcome(tasks, played, planner),
        }
        if baselines:
            found["baselines"] = self._baselines(name, tasks, protocol.budget)
        return found, Scene(self.ground, tasks, played, planner)

    def _baselines(self, name: str, tasks: Tasks, budget: int) -> dict[str, Any]:
        acts: dict[str, Act] = {
            "copy": copied(self.ground, tasks, budget=budget),
            "random": random_actions(derive_seed(self.seed, 1)),
            "no_op": no_op,
        }
        found = {
            key: outcome(tasks, self._play(f"{name}: {key}", tasks, act, budget)) for key, act in acts.items()
        }
        if self._simulable:
            found["oracle"] = self._oracle(name, tasks, budget)
        return found

    def _oracle(self, name: str, tasks: Tasks, budget: int) -> dict[str, Any]:
        """Let the same planner plan with the environment itself as model."""
        env = self.ground.env
        simulated = replace(env, kwargs={**env.kwargs, **self.planning.oracle})
        known = self.ground.episodes.seeds
        seeds = [known[place.episode] for place in tasks.starts]
        goals = tasks.goal_states()
        assert goals is not None and None not in seeds
        world: Any = OracleWorld(
            simulated,
            [seed for seed in seeds if seed is not None],
            action_block=self.model.action_block,
            state_dim=goals.shape[1],
        )
        try:
            planner = Planner(self._controller(world, ("state", "room")), goals[:, None])
            return outcome(tasks, self._play(f"{name}: oracle", tasks, planner, budget), planner)
        finally:
            world.close()

    def _planner(self, model: WorldModel, tasks: Tasks) -> Planner:
        measured = ("proprioception",) if self.ground.env.proprioception else ()
        return Planner(self._controller(model, measured), tasks.goal_frames())

    def _controller(self, model: Any, measured: tuple[str, ...]) -> Any:
        return build_controller(
            self.planning, model, space=self._space, seed=derive_seed(self.seed, 0), proprioception=measured
        )

    def _play(self, name: str, tasks: Tasks, act: Act, budget: int) -> Played:
        began = time.perf_counter()
        played = play(self.ground, tasks, act, budget=budget)
        share, count = played.reached.mean(), len(tasks.tasks)
        logger.info(
            "%s: %.1f %% of %d goals in %.0f s", name, 100 * share, count, time.perf_counter() - began
        )
        return played
