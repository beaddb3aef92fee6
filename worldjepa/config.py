"""Every knob as a dataclass. No torch here: a mistyped setting fails before torch is imported.

``None`` means "left unset": it is filled from ``conf/profile/<cpu|gpu>.yaml`` for the device at hand
(``compose.py`` says what it chose in one line). Fields marked ``runtime`` may differ between two
starts of one run: they never change the weights.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional, Tuple  # OmegaConf reads these at run time


def runtime(default: Any) -> Any:
    """Declare a field that may change when a run is continued."""
    return field(default=default, metadata={"runtime": True})


# --- masking strategies: one dataclass each; worldjepa/model/masking.py draws them ---------------


@dataclass
class MultiBlock:
    """Blocks of space over the full time (V-JEPA, arXiv:2404.08471, section 3.1); context = the rest.

    ``spatial_scale`` is the share of a frame one block covers, ``aspect`` the range of height/width,
    ``temporal_scale`` the share of the latent steps a block covers.
    """

    num_blocks: int = 8
    spatial_scale: Tuple[float, float] = (0.15, 0.15)
    aspect: Tuple[float, float] = (0.75, 1.5)
    temporal_scale: Tuple[float, float] = (1.0, 1.0)


@dataclass
class CausalMultiBlock(MultiBlock):
    """MultiBlock whose context comes only from the first ``context_share`` of the latent steps."""

    context_share: float = 0.5


@dataclass
class RandomTube:
    """Hide the same random ``ratio`` of places in every latent step (VideoMAE's tube masking)."""

    ratio: float = 0.75


@dataclass
class RandomTokens:
    """Hide a random ``ratio`` of all tokens, wherever they stand (MAE)."""

    ratio: float = 0.75


@dataclass
class Block:
    """I-JEPA's image masks (arXiv:2301.08243, section 3): target blocks, one context block less them."""

    num_targets: int = 4
    target_scale: Tuple[float, float] = (0.15, 0.2)
    target_aspect: Tuple[float, float] = (0.75, 1.5)
    context_scale: Tuple[float, float] = (0.85, 1.0)


@dataclass
class Future:
    """Context is the first ``context_share`` of the latent steps (at least one), target the others."""

    context_share: float = 0.5


@dataclass
class RandomFrames:
    """Hide a random ``ratio`` of the latent steps, whole."""

    ratio: float = 0.5


STRATEGIES: dict[str, type] = {
    "multi_block": MultiBlock,
    "causal_multi_block": CausalMultiBlock,
    "random_tube": RandomTube,
    "random_tokens": RandomTokens,
    "block": Block,
    "future": Future,
    "random_frames": RandomFrames,
}


# --- data ----------------------------------------------------------------------------------------


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
    ``short_clips``: repeat_last, or loop. ``num_workers`` None: by the number of cores.
    """

    root: Optional[str] = None
    val_root: Optional[str] = None
    layout: str = "auto"
    sources: List[SourceConfig] = field(default_factory=list)
    reader: str = "pyav"
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


# --- environments and episodes -------------------------------------------------------------------


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


# --- model ---------------------------------------------------------------------------------------


@dataclass
class ProjectorConfig:
    """How the patch tokens of a latent step become latents.

    ``pool``: none (the tokens are the latents), or flatten or mean (one pooled latent a step, through an MLP
    of width ``hidden_dim`` to ``latent_dim``). ``norm`` at its end: batch (BatchNorm without affine) or none.
    """

    pool: str = "none"
    latent_dim: int = 96
    hidden_dim: int = 512
    norm: str = "batch"


@dataclass
class EncoderConfig:
    """The tubelet ViT. ``attention``: full, step, causal or factorised (see design of the clock).

    ``positions``: rope or sincos. ``rope``: paired (ours, relative) or vjepa2 (published weights').
    ``frames_per_step`` None means ``tubelet_size``; 1 repeats a frame to fill its tubelet.
    ``window``: how many latent steps back causal attention sees (None: all).
    """

    dim: int = 128
    depth: int = 4
    num_heads: int = 4
    mlp_ratio: float = 4.0
    patch_size: int = 16
    tubelet_size: int = 2
    frames_per_step: Optional[int] = None
    positions: str = "rope"
    rope: str = "paired"
    attention: str = "full"
    window: Optional[int] = None
    projector: ProjectorConfig = field(default_factory=ProjectorConfig)


@dataclass
class MaskedPredictorConfig:
    """The narrow ViT that predicts target latents from context latents and mask tokens."""

    dim: int = 96
    depth: int = 4
    num_heads: int = 4
    mlp_ratio: float = 4.0


@dataclass
class PredictorConfig:
    """The action-conditioned predictor. ``conditioning``: adaln, or tokens (action and proprioception).

    ``window``: over how many latent steps, its own included, a step's attention reaches (None: all).
    """

    conditioning: str = "adaln"
    dim: int = 192
    depth: int = 6
    num_heads: int = 6
    mlp_ratio: float = 4.0
    window: Optional[int] = None


@dataclass
class ModelConfig:
    """``size`` names the preset (``model=nano`` ... ``gigantic``). ``latent_norm``: layer or none.

    World models only: ``frozen`` takes the encoder as it is from a run or checkpoint folder, or from timm
    (``timm/vit_small_patch14_dinov2``), with pretrained weights. ``target``: ema (an EMA copy of the encoder
    gives the targets) or none (the encoder itself). ``action_block``: environment steps of a latent step.
    ``heads``: of reward, termination, proprioception, pixels. ``action_dim`` (an environment step's) and
    ``proprioception_dim`` are those of the episodes: leave them unset.
    """

    size: Optional[str] = None
    latent_norm: str = "layer"
    frozen: Optional[str] = None
    target: str = "ema"
    action_block: int = 1
    action_dim: Optional[int] = None
    proprioception_dim: Optional[int] = None
    heads: List[str] = field(default_factory=list)
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    masked_predictor: MaskedPredictorConfig = field(default_factory=MaskedPredictorConfig)
    predictor: PredictorConfig = field(default_factory=PredictorConfig)


# --- planning ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Protocol:
    """What is asked of a plan. ``goals``: expert (the recorded frame ``goal_offset`` environment steps after
    the start) or random (a recorded frame of another episode). ``budget``: environment steps allowed.
    """

    goals: str
    goal_offset: Optional[int]
    budget: int
    episodes: int


PROTOCOLS: dict[str, Protocol] = {
    "lewm": Protocol("expert", goal_offset=25, budget=50, episodes=50),  # arXiv:2603.19312
    "anywhere": Protocol("random", goal_offset=None, budget=100, episodes=50),
}


@dataclass
class PlanningConfig:
    """How a world model plans, and what judges it: ``protocol``, and in the same report those ``beside``.

    ``episodes``, ``goal_offset`` and ``budget`` change the protocol; ``offsets`` are further goal offsets to
    be tried. ``success``: keys of ``info`` and how close each has to come to its value at the goal, at any
    step of the budget (none: the environment's own flag). ``group``: the key of ``info`` that names kinds of
    tasks. ``past_end``: steps go on where the environment ends an episode (at a goal of its own, say), if it
    can bear that. ``oracle``: arguments of the environment that the perfect model runs in, such as smaller
    pictures.

    ``planner``: cem, icem, mppi, gradient, refined_cem, random_shooting or categorical_cem (left out: icem,
    or categorical_cem for discrete actions), ``planner_settings`` its arguments. ``cost``: goal_l1, goal_l2
    or goal_cosine at every plan step; ``reduction`` makes one number of them: last, mean, smallest, last_plus
    (each earlier step counts ``reduction_weight``) or discounted (by it). The rest is as in
    ``MPCController``. ``film``: how many episodes are shown.
    """

    protocol: str = "lewm"
    beside: List[str] = field(default_factory=list)
    episodes: Optional[int] = None
    goal_offset: Optional[int] = None
    budget: Optional[int] = None
    offsets: List[int] = field(default_factory=list)
    success: Dict[str, float] = field(default_factory=dict)
    group: str = "group"
    past_end: bool = False
    oracle: Dict[str, Any] = field(default_factory=dict)
    planner: Optional[str] = None
    planner_settings: Dict[str, Any] = field(default_factory=dict)
    cost: str = "goal_l2"
    reduction: str = "last_plus"
    reduction_weight: float = 0.1
    horizon: int = 5
    replan_every: int = 1
    history: int = 1
    warm_start: Optional[float] = 0.5
    time_budget_s: Optional[float] = None
    max_rollouts: Optional[int] = None
    film: int = 8


# --- objective, optimisation, the run ------------------------------------------------------------


@dataclass
class ObjectiveConfig:
    """The training criterion. ``weights`` names the loss terms in use and how much each counts.

    ``kind``: masked (from video alone) or dynamics (a world model, from episodes with actions).
    Terms: prediction (always), variance, covariance, sigreg; of masked also consistency (needs two clips a
    video); of dynamics also rollout, inverse_dynamics, time_similarity and one for each of ``model.heads``.
    ``loss`` on the target latents: l1, l2, smooth_l1, cosine. ``rollout_steps``: over how many latent steps
    the rollout term predicts from its own predictions. ``null_actions``: the share of transitions trained
    with the action left out.
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
class LoopConfig:
    """Length and shape of the run. ``batch_size`` is the global batch over all ranks and micro-batches."""

    steps: Optional[int] = None
    batch_size: Optional[int] = None
    precision: Optional[str] = None
    accumulate: int = 1
    compile: bool = False
    activation_checkpointing: bool = False
    max_skipped: int = 10
    checkpoint_every: int = runtime(500)
    keep_last: int = runtime(2)
    keep_every: Optional[int] = runtime(None)
    log_every: int = runtime(20)
    health_every: int = runtime(100)
    picture_every: int = runtime(1000)


@dataclass
class RunConfig:
    """``dir`` defaults to ``runs/<experiment>``."""

    dir: Optional[str] = runtime(None)


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


# --- collecting ----------------------------------------------------------------------------------


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


# --- judging plans -------------------------------------------------------------------------------


@dataclass
class RecordedConfig:
    """Episodes to take starts and goals from (left out: those that the run held out of training)."""

    root: Optional[str] = None
    layout: str = "auto"


@dataclass
class PlanConfig:
    """Everything that ``python -m worldjepa.plan`` understands.

    What ``plan`` and ``env`` leave out is taken from the run (``run.dir``). ``seed`` draws the tasks and the
    planner's samples.
    """

    seed: int = 0
    device: str = "auto"
    run: RunConfig = field(default_factory=RunConfig)
    env: EnvConfig = field(default_factory=EnvConfig)
    data: RecordedConfig = field(default_factory=RecordedConfig)
    plan: PlanningConfig = field(default_factory=PlanningConfig)
