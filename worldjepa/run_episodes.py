"""The episodes of a run, recorded or collected by itself; windows of them to train on and to judge by."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from worldjepa.config import WORLD_KINDS, TrainConfig
from worldjepa.data.clips.loader import ClipLoader, default_num_workers
from worldjepa.data.collection.collect import collect_episodes, describe_env
from worldjepa.data.collection.record import SETTINGS
from worldjepa.data.episodes.action_spec import CLOSING, ActionSpec
from worldjepa.data.episodes.episode import Episodes
from worldjepa.data.episodes.store import action_statistics, open_episodes, split_episodes
from worldjepa.data.episodes.windows import WindowSampling, ordered_windows, window_loader
from worldjepa.model.world_model import WorldModel
from worldjepa.settings.planning import plans_asked
from worldjepa.settings.schema import ConfigError
from worldjepa.training import distributed
from worldjepa.training.signals import StopRequest

logger = logging.getLogger(__name__)
COLLECTED = "episodes"  # in the run folder
BATCH = 64  # windows read together where models are judged


@dataclass(frozen=True)
class EpisodeData:
    """The episodes of a run: which of them it trains on, and which are held out."""

    episodes: Episodes
    train: list[int]
    held_out: list[int]

    @property
    def root(self) -> Path:
        """Where they are."""
        return self.episodes.root

    def lines(self) -> list[str]:
        """Return one line of text a training episode, for the list that a run is frozen to."""
        lengths, seeds = self.episodes.lengths, self.episodes.seeds
        return [json.dumps({"episode": i, "steps": int(lengths[i]), "seed": seeds[i]}) for i in self.train]


def ensure_episodes(config: TrainConfig, run_dir: Path) -> bool:
    """Collect the episodes of a run that names no ``data.root``, or go on with that, in the run folder.

    Returns:
        Whether all are there; False if a signal asked to stop on the way.

    Raises:
        ConfigError: it takes actions without bounds, and plans or an agent are asked for.
        ValueError: the environment cannot be used.
        CollectionError: it fails again and again.
    """
    if config.objective.kind not in WORLD_KINDS or config.data.root is not None:
        return True
    settings = config.data
    assert settings.size is not None
    root = run_dir / COLLECTED
    if not root.exists():
        _check_bounds(config, describe_env(config.env).action)
    with StopRequest() as stop:
        found = collect_episodes(
            config.env,
            config.collect,
            root=root,
            size=settings.size,
            seed=config.seed,
            stop=lambda: bool(stop),
        )
    logger.info(found.line())
    return found.finished


def find_episodes(config: TrainConfig, run_dir: Path) -> EpisodeData:
    """Open the episodes of ``data.root``, or those that the run collected.

    Raises:
        ValueError: a folder without episodes.
    """
    root = Path(config.data.root) if config.data.root else run_dir / COLLECTED
    episodes = open_episodes(root, config.data.layout)
    train, held_out = split_episodes(episodes)
    if not train:
        raise ConfigError(f"{root} holds no episode to train on; collect some: collect.num_episodes=100")
    return EpisodeData(episodes, train, held_out)


def describe_actions(config: TrainConfig) -> TrainConfig:
    """Return ``config`` with the widths of actions and proprioception, asked of the environment where unset.

    Raises:
        ConfigError: neither the widths nor an environment are set.
        ValueError: the environment cannot be used.
    """
    if config.objective.kind not in WORLD_KINDS or config.model.action_dim is not None:
        return config
    if config.env.id is None:
        raise ConfigError(
            "a world model needs actions: set env.id=ID, such as env.id=worldjepa/TwoRooms-v0, or the width "
            "of one environment step's action, such as model.action_dim=2"
        )
    facts = describe_env(config.env)
    return _described(config, facts.action.dim, facts.proprioception_dim, fit="squeeze")


def adopt_episodes(config: TrainConfig, data: EpisodeData) -> TrainConfig:
    """Return ``config`` with the widths of actions and proprioception that the episodes have, and their fit.

    Raises:
        ConfigError: other widths are set, or plans or an agent are asked for and actions have no bounds.
    """
    spec = data.episodes.spec
    for name, has in (("action_dim", spec.action.dim), ("proprioception_dim", spec.proprioception_dim)):
        asked = getattr(config.model, name)
        if asked not in (None, has):
            raise ConfigError(f"model.{name}={asked}: the episodes of {data.root} have {has}; leave it unset")
    _check_bounds(config, spec.action)
    fit = "squeeze" if (data.root / SETTINGS).exists() else "crop"  # what collecting makes of pictures
    return _described(config, spec.action.dim, spec.proprioception_dim, fit)


def _check_bounds(config: TrainConfig, action: ActionSpec) -> None:
    """Raise ``ConfigError`` if a planner or an actor would have no bounds to keep to: not after hours."""
    if not action.bounded and (config.agent.rounds or plans_asked(config.plan)):
        without = "" if config.agent.rounds else "; or train without plans: plan.episodes=0"
        raise ConfigError(
            f"env.id={config.env.id}: its actions are open on a side (low={action.low}, high={action.high}), "
            f"and what is to choose among them needs bounds; {CLOSING}{without}"
        )


def set_action_stats(model: WorldModel, data: EpisodeData) -> None:
    """Give the model the statistics of the training episodes' actions; one-hots stay as they are."""
    assert model.action_stats is not None
    if data.episodes.spec.action.kind == "box":
        mean, std = action_statistics(data.episodes, data.train)
        model.action_stats.set(torch.from_numpy(mean), torch.from_numpy(std))


def window_batches(
    config: TrainConfig, data: EpisodeData, device: torch.device, first_step: int
) -> ClipLoader:
    """Return this rank's training windows from ``first_step`` on."""
    settings, loop = config.data, config.train
    assert settings.size is not None and loop.batch_size is not None and loop.steps is not None
    world = distributed.world_size()
    workers = settings.num_workers
    if workers is None:  # a window is read faster than a worker process hands it over
        workers = 0 if device.type == "cpu" else default_num_workers(world)
    return window_loader(
        data.episodes,
        data.train,
        sampling=window_sampling(config),
        size=settings.size,
        batch_size=loop.batch_size,
        seed=config.seed,
        first_step=first_step,
        last_step=loop.steps,
        rank=distributed.rank(),
        world_size=world,
        num_workers=workers,
        pin_memory=device.type == "cuda",
    )


def window_sampling(config: TrainConfig, num_steps: int | None = None) -> WindowSampling:
    """Return how windows are cut, of ``num_steps`` latent steps (left out: those of training)."""
    encoder, frames = config.model.encoder, config.data.num_frames
    assert frames is not None
    per_step = encoder.frames_per_step or encoder.tubelet_size
    frames = frames if num_steps is None else num_steps * per_step
    return WindowSampling(frames, per_step, config.model.action_block)


def windows_in_order(
    config: TrainConfig, data: EpisodeData, ids: Sequence[int], *, num_steps: int, stride: int
) -> ClipLoader:
    """Return the windows of episodes ``ids`` that begin every ``stride`` environment steps."""
    assert config.data.size is not None
    return ordered_windows(
        data.episodes,
        list(ids),
        sampling=window_sampling(config, num_steps),
        size=config.data.size,
        batch_size=BATCH,
        stride=stride,
    )


def _described(config: TrainConfig, action_dim: int, proprioception_dim: int, fit: str) -> TrainConfig:
    model = replace(
        config.model,
        action_dim=action_dim,
        proprioception_dim=proprioception_dim,
        fit=config.model.fit or fit,
    )
    return replace(config, model=model)
