"""Every knob as a dataclass. No torch here: a mistyped setting fails before torch is imported.

This file holds what training understands: data, objective, optimisation, and ``TrainConfig``, which joins
them with the groups of ``settings/``.

``None`` means "left unset": it is filled from ``conf/profile/<cpu|gpu>.yaml`` for the device at hand
(``settings/compose.py`` says what it chose in one line). Fields marked ``runtime`` may differ between two
starts of one run: they never change the weights.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional, Tuple  # OmegaConf reads these at run time

from worldjepa.settings.agent import AgentConfig
from worldjepa.settings.env import CollectionConfig, EnvConfig
from worldjepa.settings.model import ModelConfig
from worldjepa.settings.planning import PlanningConfig
from worldjepa.settings.run import LoopConfig, RunConfig, runtime

VIDEO_KINDS = ("masked", "ijepa", "mae", "autoencoder", "vae", "byol")  # of objective.kind: from clips alone
WORLD_KINDS = ("dynamics", "iris")  # world models, from episodes with actions


@dataclass
class SourceConfig:
    """One corpus of a mixture; ``weight`` is its share of the draws, relative to the others."""

    root: str = "???"
    weight: float = 1.0
    layout: str = "auto"


@dataclass
class DataConfig:
    """Where clips come from and how one is cut out of a video.

    ``layout``: auto, csv, folders (a class a folder), flat (no labels), ssv2, images. ``val_root``
    holds the held-out files (left out: a ``val`` folder beside ``train``, else every tenth file).
    With ``objective.kind=dynamics`` the root holds episodes: ``layout`` is auto, episodes (ours), minari or
    lerobot, and ``num_frames`` the frames of a window.
    ``fps`` samples by timestamp, ``frame_skip`` takes every so-many-th frame; one of them.
    ``short_clips``: repeat_last, or loop. ``num_workers`` None: by the number of cores. ``index``: what is
    known of the files from earlier runs and ``python -m worldjepa.index``: a file, None (one in the cache
    folder for each root) or off. ``reader``: auto tries PyAV and then those that are installed.
    ``timeout_s``: a file of which a clip takes longer to decode is bad (null: none is).
    """

    root: Optional[str] = None
    val_root: Optional[str] = None
    layout: str = "auto"
    sources: List[SourceConfig] = field(default_factory=list)
    reader: str = "auto"
    num_frames: Optional[int] = None
    size: Optional[int] = None
    fps: Optional[float] = None
    frame_skip: Optional[int] = None
    short_clips: str = "repeat_last"
    crop_scale: Optional[Tuple[float, float]] = None
    crop_aspect: Tuple[float, float] = (0.75, 1.35)
    flip: float = 0.5
    max_bad_share: float = 0.2
    num_workers: Optional[int] = runtime(None)
    index: Optional[str] = runtime(None)
    timeout_s: Optional[float] = runtime(60.0)


@dataclass
class ObjectiveConfig:
    """The training criterion. ``weights`` names the loss terms in use and how much each counts.

    ``kind``: from video alone masked (V-JEPA), ijepa, and to compare with mae, autoencoder, vae and byol;
    from episodes with actions dynamics (a world model), and to compare with iris; none is that of a converted
    encoder that stands alone, which nothing here trains.
    Terms: prediction (always; of mae, autoencoder and vae that of pixels); of masked, ijepa and dynamics
    also variance, covariance, sigreg; of masked consistency (needs two clips a video); of vae kl; of
    dynamics rollout, inverse_dynamics, time_similarity and one for each of ``model.heads``; of iris
    (whose prediction is that of tokens) reconstruction and commitment.
    ``loss`` on the target latents or pixels: l1, l2, smooth_l1, cosine. ``rollout_steps``: over how many
    latent steps the rollout term predicts from its own predictions. ``null_actions``: the share of
    transitions trained with the action left out.
    """

    kind: str = "masked"
    loss: Optional[str] = None
    rollout_steps: int = 1
    null_actions: float = 0.1
    weights: Dict[str, float] = field(default_factory=lambda: {"prediction": 1.0})
    sigreg_projections: int = 1024
    sigreg_knots: int = 17


@dataclass
class OptimConfig:
    """AdamW, its schedules, and the target encoder's momentum.

    ``lr`` rises over ``warmup`` (a share of the steps) and then follows ``schedule``: wsd (constant,
    then down over the last ``cooldown`` share), cosine or constant, to ``final_lr``. Weight decay (on
    matrices only) and EMA momentum go from the first to the second value over the run.
    """

    lr: Optional[float] = None
    start_lr: float = 0.0
    final_lr: float = 1e-6
    schedule: Optional[str] = None
    warmup: Optional[float] = None
    cooldown: float = 0.2
    weight_decay: Tuple[float, float] = (0.04, 0.04)
    betas: Tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    grad_clip: Optional[float] = 10.0
    ema: Optional[Tuple[float, float]] = None


@dataclass
class TrainConfig:
    """Everything that ``python -m worldjepa.train`` understands."""

    experiment: Optional[str] = None
    seed: int = 0
    device: str = runtime("auto")
    run: RunConfig = field(default_factory=RunConfig)
    env: EnvConfig = field(default_factory=EnvConfig)
    collect: CollectionConfig = field(default_factory=CollectionConfig)
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    masking: Dict[str, Any] = field(default_factory=dict)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    train: LoopConfig = field(default_factory=LoopConfig)
    plan: PlanningConfig = field(default_factory=PlanningConfig, metadata={"runtime": True})
    agent: AgentConfig = field(default_factory=AgentConfig)
