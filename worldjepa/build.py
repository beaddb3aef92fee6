"""Settings to objects: the only file that knows both."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch

from worldjepa.compose import compose, fill
from worldjepa.config import ModelConfig, TrainConfig
from worldjepa.model.encoder import VideoEncoder
from worldjepa.model.masking import MaskingStrategy, build_strategy
from worldjepa.model.predictor import MaskedPredictor
from worldjepa.model.world_model import WorldModel
from worldjepa.objectives.masked import MaskedPrediction
from worldjepa.schema import ConfigError
from worldjepa.seeding import derive_seed
from worldjepa.training import distributed
from worldjepa.validate import read_strategy

BATCH_TERMS = ("variance", "covariance", "sigreg")


def from_config(experiment: str, overrides: Sequence[str] = ()) -> WorldModel:
    """Build an experiment's model with fresh weights, drawn from its ``seed``.

    Args:
        experiment: name of a file in ``conf/experiment``, such as ``kinetics``.
        overrides: words as on the command line, such as ``["model=tiny", "data.size=128"]``.

    Raises:
        ConfigError: an unknown experiment or setting; it names the nearest right one.
    """
    if isinstance(overrides, str):
        raise ConfigError(f"overrides={overrides!r}: expected a list of words, such as [{overrides!r}]")
    words = [f"+experiment={experiment}", *overrides]
    config = compose(words)
    config, _ = fill(config, words, device_kind(config.device))
    return build_model(config)


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


def build_model(config: TrainConfig) -> WorldModel:
    """Build the model of a filled configuration with fresh weights, a function of its seed.

    The global random state is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(config.seed, 0, 2))
        encoder = _encoder(config.model)
        predictor = _masked_predictor(config.model, num_mask_tokens=max(1, len(config.masking)))
    assert config.data.size is not None
    return WorldModel(
        encoder=encoder,
        target_encoder=copy.deepcopy(encoder),
        masked_predictor=predictor,
        image_size=config.data.size,
        latent_norm=config.model.latent_norm,
    )


def _encoder(model: ModelConfig) -> VideoEncoder:
    settings = asdict(model.encoder)
    settings.pop("projector")
    return VideoEncoder(**settings)


def _masked_predictor(model: ModelConfig, num_mask_tokens: int) -> MaskedPredictor:
    encoder = model.encoder
    return MaskedPredictor(
        latent_dim=encoder.dim,
        positions=encoder.positions,
        rope=encoder.rope,
        num_mask_tokens=num_mask_tokens,
        **asdict(model.masked_predictor),
    )


def build_objective(config: TrainConfig, model: WorldModel) -> MaskedPrediction:
    """Build the training criterion around the parts of ``model``.

    Raises:
        ConfigError: a term over batch statistics together with gradient accumulation.
    """
    objective, loop = config.objective, config.train
    terms = [name for name in objective.weights if name in BATCH_TERMS]
    if terms and loop.accumulate > 1:
        raise ConfigError(
            f"train.accumulate={loop.accumulate}: {', '.join(terms)} need the statistics of the whole batch "
            "at once; set train.accumulate=1 (train.activation_checkpointing=true saves memory instead)"
        )
    assert model.target_encoder is not None and model.masked_predictor is not None
    assert objective.loss is not None
    for part in (model.encoder, model.masked_predictor):
        part.checkpoint_blocks = loop.activation_checkpointing
    return MaskedPrediction(
        model.encoder,
        model.target_encoder,
        model.masked_predictor,
        loss=objective.loss,
        weights=objective.weights,
        latent_norm=config.model.latent_norm,
        sigreg_projections=objective.sigreg_projections,
        sigreg_knots=objective.sigreg_knots,
        mean=distributed.all_reduce_mean,
        world_size=distributed.world_size(),
    )


def build_strategies(config: TrainConfig) -> tuple[MaskingStrategy, ...]:
    """Build the mask settings of a step, in the order of their names in ``masking``."""
    return tuple(_strategy(name, settings) for name, settings in config.masking.items())


def _strategy(name: str, settings: Mapping[str, Any]) -> MaskingStrategy:
    read = read_strategy(name, settings)
    if isinstance(read, dict):  # a user's own function
        return build_strategy(read)
    return build_strategy({"strategy": settings["strategy"], **asdict(read)})
