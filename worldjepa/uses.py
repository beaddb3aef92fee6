"""The two kinds of run, behind one protocol: pretraining from video files, and world models from episodes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch

from worldjepa.config import VIDEO_KINDS, WORLD_KINDS, TrainConfig
from worldjepa.data.clips.badfiles import read_timed_out
from worldjepa.model.world_model import WorldModel
from worldjepa.outcome.album import Album
from worldjepa.outcome.dream_album import DreamAlbum
from worldjepa.outcome.dynamics import RESULT, evaluate_dynamics
from worldjepa.outcome.labels import evaluate
from worldjepa.outcome.planning import evaluate_planning, planned
from worldjepa.run_data import Data, find_data, training_batches
from worldjepa.run_episodes import (
    EpisodeData,
    adopt_episodes,
    find_episodes,
    set_action_stats,
    window_batches,
)
from worldjepa.training.loop import Draw
from worldjepa.types import Batches


@runtime_checkable
class Use(Protocol):
    """What the stages of a run ask of the data that it trains on. ``config`` is complete with it."""

    @property
    def config(self) -> TrainConfig:
        """The settings, with what only the data can say."""
        ...

    @property
    def root(self) -> Path:
        """Where the data is."""
        ...

    def lines(self) -> list[str]:
        """Return a line of text for each thing that is trained on: the list that a run is frozen to."""
        ...

    def prepare(self, model: WorldModel) -> None:
        """Tell a fresh model what it has to know of the data."""
        ...

    def batches(self, device: torch.device, first_step: int) -> Batches:
        """Return this rank's batches from ``first_step`` on."""
        ...

    def pictures(self, run_dir: Path) -> Draw | None:
        """Return what draws pictures during training."""
        ...

    def evaluated(self, run_dir: Path) -> bool:
        """Tell whether a finished run was evaluated."""
        ...

    def evaluate(self, run_dir: Path, device: torch.device) -> None:
        """Say what the run learnt."""
        ...


@dataclass(frozen=True)
class VideoUse:
    """An encoder from video files, whatever the criterion. ``run_dir``: of a run that may be continued."""

    config: TrainConfig
    data: Data
    run_dir: Path | None = None

    @classmethod
    def find(cls, config: TrainConfig, run_dir: Path | None = None) -> VideoUse:
        """List the files (errors: those of ``find_data``)."""
        return cls(config, find_data(config), run_dir)

    @property
    def root(self) -> Path:
        """Where the first source is."""
        return Path(self.data.sources[0].files.root)

    def lines(self) -> list[str]:
        """Return a line for each training file."""
        return self.data.lines()

    def prepare(self, model: WorldModel) -> None:
        """Tell it nothing: a video encoder knows its preprocessing."""

    def batches(self, device: torch.device, first_step: int) -> Batches:
        """Return batches of clips."""
        timed_out = read_timed_out(self.run_dir / "bad_files.jsonl") if self.run_dir else ()
        return training_batches(self.config, self.data, device, first_step, timed_out)

    def pictures(self, run_dir: Path) -> Draw | None:
        """Draw masks and latents."""
        return Album(self.config, self.data, run_dir).draw

    def evaluated(self, run_dir: Path) -> bool:
        """Tell whether the labels were probed."""
        return (run_dir / "labels.json").exists()

    def evaluate(self, run_dir: Path, device: torch.device) -> None:
        """Probe the labels."""
        evaluate(self.config, self.data, run_dir, device)


@dataclass(frozen=True)
class EpisodeUse:
    """Latent dynamics from episodes with actions."""

    config: TrainConfig
    data: EpisodeData

    @classmethod
    def find(cls, config: TrainConfig, run_dir: Path) -> EpisodeUse:
        """Open the episodes (errors: those of ``find_episodes`` and ``adopt_episodes``)."""
        data = find_episodes(config, run_dir)
        return cls(adopt_episodes(config, data), data)

    @property
    def root(self) -> Path:
        """Where the episodes are."""
        return self.data.root

    def lines(self) -> list[str]:
        """Return a line for each training episode."""
        return self.data.lines()

    def prepare(self, model: WorldModel) -> None:
        """Tell it how the actions are spread."""
        set_action_stats(model, self.data)

    def batches(self, device: torch.device, first_step: int) -> Batches:
        """Return batches of windows."""
        return window_batches(self.config, self.data, device, first_step)

    def pictures(self, run_dir: Path) -> Draw | None:
        """Draw imagined frames below real ones, where a head draws pixels."""
        return DreamAlbum(self.config, self.data, run_dir).draw

    def evaluated(self, run_dir: Path) -> bool:
        """Tell whether the rollouts were measured, and the plans if they are to be."""
        return (run_dir / RESULT).exists() and planned(self.config, run_dir)

    def evaluate(self, run_dir: Path, device: torch.device) -> None:
        """Measure the rollouts, then what planning with them reaches."""
        evaluate_dynamics(self.config, self.data, run_dir, device)
        evaluate_planning(self.config, self.data, run_dir, device)


KINDS: dict[str, Callable[[TrainConfig, Path], Use]] = {
    **dict.fromkeys(VIDEO_KINDS, VideoUse.find),
    **dict.fromkeys(WORLD_KINDS, EpisodeUse.find),
}
