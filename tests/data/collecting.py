"""What the tests of the collector share: settings of made environments, and a look at what was written."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

from worldjepa.data.collection.collect import CollectionResult, collect_episodes
from worldjepa.data.episodes.store import EpisodeStore
from worldjepa.settings.env import CollectionConfig, EnvConfig

MADE = EnvConfig(id="tests.data.made_envs:made/Made-v0", state=["position"], num_envs=1)
BATCHED = EnvConfig(id="tests.data.made_envs:made/Batched-v0", state=["position"], num_envs=3)


def collect(
    root: Path, env: EnvConfig, count: int, *, policy: str = "random", seed: int = 0
) -> CollectionResult:
    chosen = CollectionConfig(policy=policy, num_episodes=count)
    return collect_episodes(env, chosen, root=root, size=8, seed=seed, progress=False)


def faulty(fault: str, **kwargs) -> EnvConfig:
    return replace(MADE, kwargs={"fault": fault, **kwargs}, timeout_s=1.5 if fault == "hangs" else 60.0)


def content(root: Path) -> list[str]:
    """Return the hash of every episode."""
    store, hashes = EpisodeStore.open(root), []
    for episode, (steps, seed) in enumerate(zip(store.lengths.tolist(), store.seeds, strict=True)):
        part = store.read(episode, range(steps + 1), 0, steps)
        arrays = [part.frames, part.actions, part.rewards, part.terminated, part.state]
        text = b"".join(array.tobytes() for array in arrays if array is not None)
        hashes.append(hashlib.sha256(text + str(seed).encode()).hexdigest())
    return hashes


def lost(root: Path) -> list[dict]:
    return [json.loads(line) for line in (root / "lost_episodes.jsonl").read_text().splitlines()]
