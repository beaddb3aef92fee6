"""Episodes made for tests: every frame says which episode and observation it shows, every number likewise."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import gymnasium
import numpy as np

from worldjepa.data.episodes.action_spec import action_spec
from worldjepa.data.episodes.store import Episode, EpisodeSpec, EpisodeStore

SIZE = (8, 12)
SPEC = EpisodeSpec(
    env_id="made",
    env_kwargs={"level": 2},
    action=action_spec(gymnasium.spaces.Box(-1, 1, (2,))),
    frame_size=SIZE,
    proprioception_dim=3,
    state_names=("position.0", "position.1"),
    fps=10.0,
)


def made_frames(number: int, count: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """Return frames whose first pixel is (episode, observation, 7), on a texture."""
    frames = np.random.default_rng(number).integers(0, 256, (count, *size, 3), dtype=np.uint8)
    frames[:, 0, 0] = [(number, i, 7) for i in range(count)]
    return frames


def made_episode(number: int, steps: int, *, terminated: bool = True) -> Episode:
    """Return an episode whose action at step i is (number + i / 100, -i / 100), its reward i."""
    i = np.arange(steps + 1)
    return Episode(
        frames=made_frames(number, steps + 1),
        actions=np.stack([number + i[:-1] / 100, -i[:-1] / 100], axis=1).astype(np.float32),
        rewards=i[:-1].astype(np.float32),
        terminated=terminated,
        truncated=not terminated,
        seed=1000 + number,
        proprioception=np.stack([i, 10 * i, np.full_like(i, number)], axis=1).astype(np.float32),
        state=np.stack([i, number + 0 * i], axis=1).astype(np.float32),
        success=terminated,
    )


def made_store(root: Path, lengths: Sequence[int]) -> EpisodeStore:
    """Return a store of episodes of these lengths; every other one terminates."""
    store = EpisodeStore.create(root, SPEC)
    for number, steps in enumerate(lengths):
        store.append(made_episode(number, steps, terminated=number % 2 == 0))
    return EpisodeStore.open(root)
