"""Episodes of real environments, recorded step by step, for tests of whoever replays them."""

from pathlib import Path

import gymnasium
import numpy as np

from worldjepa.data.episodes.action_spec import action_spec
from worldjepa.data.episodes.store import Episode, EpisodeSpec, EpisodeStore
from worldjepa.evaluation.goals import Ground
from worldjepa.evaluation.success import Success
from worldjepa.settings.env import EnvConfig

TWO_ROOMS = EnvConfig(
    id="worldjepa/TwoRooms-v0", kwargs={"end_on_success": False, "image_size": 32}, state=["position"]
)
RADIUS = 16 / 224


def record(root: Path, env: EnvConfig = TWO_ROOMS, *, episodes: int, steps: int) -> EpisodeStore:
    """Let the script (or random actions) play; episode i has the seed 100 + i and ``steps - i % 3`` steps."""
    made = gymnasium.make(env.id or "", **env.kwargs)
    frame, info = made.reset(seed=0)
    spec = EpisodeSpec(
        env_id=env.id or "",
        env_kwargs=env.kwargs,
        action=action_spec(made.action_space),
        frame_size=frame.shape[:2],
        state_names=("position.0", "position.1"),
    )
    store = EpisodeStore.create(root, spec)
    for number in range(episodes):
        frame, info = made.reset(seed=100 + number)
        rng = np.random.default_rng(number)
        frames, states, actions = [frame.copy()], [info["position"]], []
        for _ in range(steps - number % 3):
            script = getattr(made.unwrapped, "scripted_actions", None)
            actions.append(rng.uniform(-1, 1, 2).astype(np.float32) if script is None else script(rng))
            frame, _, _, _, info = made.step(actions[-1])
            frames.append(frame.copy())
            states.append(info["position"])
        store.append(
            Episode(
                frames=np.stack(frames),
                actions=spec.action.from_env(np.stack(actions)),
                rewards=np.zeros(len(actions)),
                terminated=False,
                truncated=True,
                seed=100 + number,
                state=np.stack(states),
            )
        )
    return store


def ground_of(store: EpisodeStore, env: EnvConfig = TWO_ROOMS, tolerance: float = RADIUS) -> Ground:
    """Return all episodes of a store as ground for tasks."""
    return Ground(store, list(range(len(store.lengths))), env, Success({"position": tolerance}))
