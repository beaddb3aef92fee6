"""An environment, and collecting episodes from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional  # OmegaConf reads these at run time

from worldjepa.settings.run import runtime


@dataclass
class EnvConfig:
    """A Gymnasium environment and what of it is recorded.

    ``pixels``: where frames come from: ``render``, a key of a Dict observation (a camera), or None: the
    observation if it is an image, else ``render``. ``proprioception``: keys of a Dict observation, joined
    (``observation`` for one that is a plain vector). ``timeout_s``: an environment that takes longer for a
    step or reset has hung. ``state``: keys of ``info`` recorded as the true state, which probes read.
    """

    id: Optional[str] = None
    kwargs: Dict[str, Any] = field(default_factory=dict)
    pixels: Optional[str] = None
    proprioception: List[str] = field(default_factory=list)
    state: List[str] = field(default_factory=list)
    max_episode_steps: Optional[int] = None
    num_envs: int = runtime(8)
    timeout_s: float = runtime(60.0)


@dataclass
class CollectionConfig:
    """Which policy acts (random, smooth, scripted, or package.module:callable), and for how many episodes."""

    policy: str = "random"
    num_episodes: int = 500


@dataclass
class CollectedConfig:
    """Where episodes are kept (``runs/episodes/<env.id>`` if left out), and their frames' size in pixels."""

    root: Optional[str] = runtime(None)
    size: int = 64


@dataclass
class CollectConfig:
    """Everything that ``python -m worldjepa.collect`` understands.

    ``policy`` and ``num_episodes`` are those of ``CollectionConfig``; more episodes may be asked for later.
    """

    seed: int = 0
    policy: str = "random"
    num_episodes: int = runtime(500)
    env: EnvConfig = field(default_factory=EnvConfig)
    data: CollectedConfig = field(default_factory=CollectedConfig)
