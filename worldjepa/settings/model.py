"""The parts of a model: encoder, predictors, and how they are put together."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import List, Optional  # OmegaConf reads these at run time

from worldjepa.settings.run import runtime


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

    ``positions``: rope, sincos or sincos_thirds (V-JEPA's published weights). ``rope``: paired (ours,
    relative) or vjepa2 (published weights').
    ``frames_per_step`` None means ``tubelet_size``; 1 repeats a frame to fill its tubelet.
    ``window``: how many latent steps back causal attention sees (None: all). ``timm``: a timm model stands in
    its place; what a run with ``model.frozen`` or converted weights fill in: leave it unset.
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
    timm: Optional[str] = None


@dataclass
class MaskedPredictorConfig:
    """The narrow ViT that predicts target latents from context latents and mask tokens.

    Criteria that reconstruct pixels (mae, autoencoder, vae) have a decoder of these sizes in its place.
    ``num_mask_tokens`` None: one for each mask setting.
    """

    dim: int = 96
    depth: int = 4
    num_heads: int = 4
    mlp_ratio: float = 4.0
    num_mask_tokens: Optional[int] = None


@dataclass
class PredictorConfig:
    """The action-conditioned predictor. ``conditioning``: adaln, or tokens (action and proprioception).

    ``window``: over how many latent steps, its own included, a step's attention reaches (None: all).
    ``rope``: paired (ours, relative) or vjepa2 (published weights'). ``trained_grid``: rows and columns of
    tokens that published weights were trained on; positions on other grids are scaled to it. ``kinematics``:
    how proprioception follows from actions, for rollouts: None (unknown) or end_effector (both are x, y, z,
    three Euler angles, gripper: ``model/kinematics.py``).
    """

    conditioning: str = "adaln"
    dim: int = 192
    depth: int = 6
    num_heads: int = 6
    mlp_ratio: float = 4.0
    window: Optional[int] = None
    rope: str = "paired"
    trained_grid: Optional[int] = None
    kinematics: Optional[str] = None


@dataclass
class TokensConfig:
    """The vocabulary of ``objective.kind=iris``: ``num_codes`` vectors of width ``latent_dim``."""

    num_codes: int = 512
    latent_dim: int = 64


@dataclass
class ModelConfig:
    """``size`` names the preset (``model=nano`` ... ``gigantic``). ``latent_norm``: layer or none.

    World models only: ``frozen`` takes the encoder as it is from a run or checkpoint folder, or from timm
    (``timm/vit_small_patch14_dinov2``), with pretrained weights. ``target``: ema (an EMA copy of the encoder
    gives the targets) or none (the encoder itself). ``action_block``: environment steps of a latent step.
    ``heads``: of reward, termination, proprioception, pixels. ``fit``: how frames that are not square are
    made so, crop or squeeze (left out: as the episodes were; of videos crop). ``action_dim`` (an environment
    step's) and ``proprioception_dim`` are those of the episodes: leave them unset.
    """

    size: Optional[str] = None
    latent_norm: str = "layer"
    fit: Optional[str] = runtime(None)
    frozen: Optional[str] = None
    target: str = "ema"
    action_block: int = 1
    action_dim: Optional[int] = None
    proprioception_dim: Optional[int] = None
    heads: List[str] = field(default_factory=list)
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    masked_predictor: MaskedPredictorConfig = field(default_factory=MaskedPredictorConfig)
    predictor: PredictorConfig = field(default_factory=PredictorConfig)
    tokens: TokensConfig = field(default_factory=TokensConfig)
