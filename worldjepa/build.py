"""Settings to objects: the only file that knows both."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import nn

from worldjepa.compose import compose, fill
from worldjepa.config import TrainConfig
from worldjepa.config_model import ModelConfig
from worldjepa.model.action_predictor import ActionPredictor
from worldjepa.model.action_stats import ActionStats
from worldjepa.model.encoder import VideoEncoder
from worldjepa.model.frozen import FrozenEncoder, TimmBackbone
from worldjepa.model.heads import PixelHead, ScalarHead, VectorHead
from worldjepa.model.masking import MaskingStrategy, build_strategy
from worldjepa.model.predictor import MaskedPredictor
from worldjepa.model.projector import BatchNorm, Projector
from worldjepa.model.world_model import WorldModel
from worldjepa.objectives.dynamics import LatentDynamics
from worldjepa.objectives.masked import MaskedPrediction
from worldjepa.objectives.objective import Objective
from worldjepa.run_episodes import describe_actions
from worldjepa.schema import ConfigError
from worldjepa.seeding import derive_seed
from worldjepa.training import distributed
from worldjepa.training.pretrained import adopt_frozen, encoder_settings, load_frozen
from worldjepa.validate import read_strategy
from worldjepa.validate_model import timm_name

BATCH_TERMS = ("variance", "covariance", "sigreg")


def from_config(experiment: str, overrides: Sequence[str] = ()) -> WorldModel:
    """Build an experiment's model with fresh weights, drawn from its ``seed``.

    Args:
        experiment: name of a file in ``conf/experiment``, such as ``kinetics``.
        overrides: words as on the command line, such as ``["model=tiny", "data.size=128"]``.

    A world model's actions are those of ``env.id``, unless ``model.action_dim`` is set.

    Raises:
        ConfigError: an unknown experiment or setting; it names the nearest right one.
    """
    if isinstance(overrides, str):
        raise ConfigError(f"overrides={overrides!r}: expected a list of words, such as [{overrides!r}]")
    words = [f"+experiment={experiment}", *overrides]
    config = compose(words)
    config, _ = fill(config, words, device_kind(config.device))
    return build_model(adopt_frozen(describe_actions(config)))


def device_kind(device: str) -> str:
    """Return which profile serves ``device``: gpu or cpu."""
    return "gpu" if pick_device(device) == "cuda" else "cpu"


def pick_device(device: str) -> str:
    """Return cuda or cpu for ``auto``, cpu or cuda.

    Raises:
        ConfigError: another name; or cuda was asked for and there is no GPU that torch can use.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise ConfigError(
            f"device={device}: expected auto, cpu or cuda; choose one GPU with CUDA_VISIBLE_DEVICES"
        )
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            "device=cuda: torch finds no GPU here; set device=cpu (or install a CUDA build of torch)"
        )
    return device


def build_model(config: TrainConfig, *, pretrained: bool = True) -> WorldModel:
    """Build the model of a filled configuration with fresh weights, a function of its seed.

    The global random state is left as it was. ``pretrained=False`` leaves out the weights of a frozen
    encoder: those of a checkpoint are to follow.

    Raises:
        ConfigError: a world model whose actions are not known; or a frozen encoder that cannot be used.
    """
    assert config.data.size is not None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(config.seed, 0, 2))
        if config.objective.kind == "dynamics":
            return _dynamics_model(config, config.data.size, pretrained)
        encoder = VideoEncoder(**encoder_settings(config.model.encoder))
        predictor = _masked_predictor(config.model, num_mask_tokens=max(1, len(config.masking)))
    return WorldModel(
        encoder=encoder,
        target_encoder=copy.deepcopy(encoder),
        masked_predictor=predictor,
        image_size=config.data.size,
        latent_norm=config.model.latent_norm,
    )


def _dynamics_model(config: TrainConfig, size: int, pretrained: bool) -> WorldModel:
    """Build encoder, action predictor and heads; the EMA target where there is one."""
    model = config.model
    if model.action_dim is None:
        raise ConfigError(
            "model.action_dim is unset: it is that of the episodes, which a run finds out; without one set "
            "it, for example model.action_dim=2"
        )
    encoder = _frozen_encoder(config, size, pretrained) if model.frozen else _encoder(model, size)
    grid = encoder.latent_grid(size, size)
    target = None
    if isinstance(encoder, VideoEncoder) and model.target == "ema":
        target = copy.deepcopy(encoder)
    return WorldModel(
        encoder=encoder,
        target_encoder=target,
        predictor=ActionPredictor(
            latent_dim=encoder.latent_dim,
            action_dim=model.action_block * model.action_dim,
            grid=grid,
            proprioception_dim=model.proprioception_dim or 0,
            **asdict(model.predictor),
        ),
        heads={name: _head(name, config, encoder.latent_dim, grid) for name in model.heads},
        action_stats=ActionStats(model.action_dim),
        action_block=model.action_block,
        image_size=size,
        latent_norm=model.latent_norm,
    )


def _encoder(model: ModelConfig, size: int) -> VideoEncoder:
    encoder = model.encoder
    projector = None
    if encoder.projector.pool != "none":
        num_tokens = (size // encoder.patch_size) ** 2
        projector = Projector(dim=encoder.dim, num_tokens=num_tokens, **asdict(encoder.projector))
    return VideoEncoder(**encoder_settings(encoder), projector=projector)


def _frozen_encoder(config: TrainConfig, size: int, pretrained: bool) -> FrozenEncoder:
    """Build the encoder that ``model.frozen`` names; ``model.encoder`` describes it (``adopt_frozen``)."""
    name = timm_name(config.model)
    if name is not None:
        backbone = TimmBackbone(name, image_size=size, pretrained=pretrained)
    else:
        backbone = VideoEncoder(**encoder_settings(config.model.encoder))
        if pretrained:
            load_frozen(backbone, config)
    return FrozenEncoder(backbone, pool=config.model.encoder.projector.pool)


def _head(name: str, config: TrainConfig, latent_dim: int, grid: tuple[int, int]) -> nn.Module:
    num_tokens = grid[0] * grid[1]
    if name in ("reward", "termination"):
        return ScalarHead(latent_dim=latent_dim, num_tokens=num_tokens)
    if name == "proprioception":
        out_dim = config.model.proprioception_dim
        if not out_dim:
            raise ConfigError("model.heads: the episodes have no proprioception to be read from latents")
        return VectorHead(latent_dim=latent_dim, num_tokens=num_tokens, out_dim=out_dim)
    assert name == "pixels" and config.data.size is not None
    return PixelHead(latent_dim=latent_dim, grid=grid, image_size=config.data.size)


def _masked_predictor(model: ModelConfig, num_mask_tokens: int) -> MaskedPredictor:
    encoder = model.encoder
    return MaskedPredictor(
        latent_dim=encoder.dim,
        positions=encoder.positions,
        rope=encoder.rope,
        num_mask_tokens=num_mask_tokens,
        **asdict(model.masked_predictor),
    )


def build_objective(config: TrainConfig, model: WorldModel) -> Objective:
    """Build the training criterion around the parts of ``model``, on its device; seeded as the model is.

    Raises:
        ConfigError: batch statistics together with gradient accumulation.
    """
    objective, loop = config.objective, config.train
    statistics = [f"objective.weights.{name}" for name in objective.weights if name in BATCH_TERMS]
    if any(isinstance(module, BatchNorm) for module in model.encoder.modules()):
        statistics.append("model.encoder.projector.norm=batch")
    if statistics and loop.accumulate > 1:
        raise ConfigError(
            f"train.accumulate={loop.accumulate}: {', '.join(statistics)} need the statistics of the whole "
            "batch at once; set train.accumulate=1 (train.activation_checkpointing=true saves memory instead)"
        )
    assert objective.loss is not None
    for part in model.modules():
        if isinstance(part, (VideoEncoder, MaskedPredictor)):
            part.checkpoint_blocks = loop.activation_checkpointing
    shared = {
        "loss": objective.loss,
        "weights": objective.weights,
        "sigreg_projections": objective.sigreg_projections,
        "sigreg_knots": objective.sigreg_knots,
        "mean": distributed.all_reduce_mean,
        "world_size": distributed.world_size(),
    }
    if objective.kind == "dynamics":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(config.seed, 0, 4))
            steps, share = objective.rollout_steps, objective.null_actions
            return LatentDynamics(model, rollout_steps=steps, null_actions=share, **shared)
    assert isinstance(model.encoder, VideoEncoder)
    assert model.target_encoder is not None and model.masked_predictor is not None
    return MaskedPrediction(
        model.encoder,
        model.target_encoder,
        model.masked_predictor,
        latent_norm=config.model.latent_norm,
        **shared,
    )


def build_strategies(config: TrainConfig) -> tuple[MaskingStrategy, ...]:
    """Build the mask settings of a step, in the order of their names in ``masking``; dynamics have none."""
    if config.objective.kind == "dynamics":
        return ()
    return tuple(_strategy(name, settings) for name, settings in config.masking.items())


def _strategy(name: str, settings: Mapping[str, Any]) -> MaskingStrategy:
    read = read_strategy(name, settings)
    if isinstance(read, dict):  # a user's own function
        return build_strategy(read)
    return build_strategy({"strategy": settings["strategy"], **asdict(read)})
