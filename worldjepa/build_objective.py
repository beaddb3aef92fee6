"""Settings of training criteria and of masks to objects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch

from worldjepa.build import decoder_sizes
from worldjepa.config import WORLD_KINDS, TrainConfig
from worldjepa.model.decoder import PixelDecoder
from worldjepa.model.encoder import VideoEncoder
from worldjepa.model.masking import MaskingStrategy, build_strategy
from worldjepa.model.predictor import MaskedPredictor
from worldjepa.model.projector import BatchNorm
from worldjepa.model.world_model import WorldModel
from worldjepa.objectives.autoencoder import Autoencoder
from worldjepa.objectives.byol import TwoViews
from worldjepa.objectives.dynamics import LatentDynamics
from worldjepa.objectives.ijepa import ImagePrediction
from worldjepa.objectives.iris import TokenPrediction
from worldjepa.objectives.mae import MaskedAutoencoder
from worldjepa.objectives.masked import MaskedPrediction
from worldjepa.objectives.objective import Objective
from worldjepa.objectives.vae import VariationalAutoencoder
from worldjepa.seeding import derive_seed
from worldjepa.settings.schema import ConfigError
from worldjepa.settings.validate import read_strategy
from worldjepa.training import distributed

BATCH_TERMS = ("variance", "covariance", "sigreg")
UNMASKED = ("autoencoder", "vae", "byol", *WORLD_KINDS)  # criteria that read whole clips
LATENT = {"masked": MaskedPrediction, "ijepa": ImagePrediction}
PIXELS = {"mae": MaskedAutoencoder, "autoencoder": Autoencoder, "vae": VariationalAutoencoder}


def build_objective(config: TrainConfig, model: WorldModel) -> Objective:
    """Build the training criterion around the parts of ``model``, on its device; seeded as the model is.

    Raises:
        ConfigError: batch statistics together with gradient accumulation.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(config.seed, 0, 4))
        objective = _objective(config, model)
    objective.auxiliary.to(model.device)
    _check_accumulation(config, objective)
    for part in objective.modules():
        if isinstance(part, (VideoEncoder, MaskedPredictor, PixelDecoder)):
            part.checkpoint_blocks = config.train.activation_checkpointing
    return objective


def _objective(config: TrainConfig, model: WorldModel) -> Objective:
    settings, encoder, target = config.objective, model.encoder, model.target_encoder
    assert settings.loss is not None
    basic: dict[str, Any] = {"loss": settings.loss, "weights": settings.weights}
    statistics: dict[str, Any] = {
        "sigreg_projections": settings.sigreg_projections,
        "sigreg_knots": settings.sigreg_knots,
        "mean": distributed.all_reduce_mean,
        "world_size": distributed.world_size(),
    }
    if settings.kind == "dynamics":
        steps, share = settings.rollout_steps, settings.null_actions
        return LatentDynamics(model, rollout_steps=steps, null_actions=share, **basic, **statistics)
    if settings.kind == "iris":
        share, mean = settings.null_actions, distributed.all_reduce_mean
        return TokenPrediction(model, null_actions=share, mean=mean, **basic)
    assert isinstance(encoder, VideoEncoder)
    if settings.kind in PIXELS:
        return PIXELS[settings.kind](encoder, _decoder(config, encoder), **basic)
    assert target is not None
    basic["latent_norm"] = config.model.latent_norm
    if settings.kind == "byol":
        return TwoViews(encoder, target, mean=distributed.all_reduce_mean, **basic)
    assert model.masked_predictor is not None
    return LATENT[settings.kind](encoder, target, model.masked_predictor, **basic, **statistics)


def _decoder(config: TrainConfig, encoder: VideoEncoder) -> PixelDecoder:
    masked, sizes = config.objective.kind == "mae", decoder_sizes(config.model)
    pixels = encoder.embed.proj.in_features
    return PixelDecoder(latent_dim=encoder.dim, pixels=pixels, masked=masked, **sizes)


def _check_accumulation(config: TrainConfig, objective: Objective) -> None:
    statistics = [f"objective.weights.{name}" for name in config.objective.weights if name in BATCH_TERMS]
    norms = [name for name, part in objective.named_modules() if isinstance(part, BatchNorm)]
    if any(not name.startswith("auxiliary.") for name in norms):
        statistics.append("model.encoder.projector.norm=batch")
    if any(name.startswith("auxiliary.") for name in norms):
        statistics.append(f"objective={config.objective.kind}")
    if statistics and config.train.accumulate > 1:
        raise ConfigError(
            f"train.accumulate={config.train.accumulate}: {', '.join(statistics)} need the statistics of the "
            "whole batch at once; set train.accumulate=1 (train.activation_checkpointing=true saves memory "
            "instead)"
        )


def build_strategies(config: TrainConfig) -> tuple[MaskingStrategy, ...]:
    """Build the mask settings of a step, in the order of their names in ``masking``; none of ``UNMASKED``."""
    if config.objective.kind in UNMASKED:
        return ()
    return tuple(_strategy(name, settings) for name, settings in config.masking.items())


def _strategy(name: str, settings: Mapping[str, Any]) -> MaskingStrategy:
    read = read_strategy(name, settings)
    if isinstance(read, dict):  # a user's own function
        return build_strategy(read)
    return build_strategy({"strategy": settings["strategy"], **asdict(read)})
