"""Where a frozen encoder comes from: a run or converted weights (settings and tensors), or timm (by name)."""

from __future__ import annotations

import copy
from dataclasses import asdict

from worldjepa.config import TrainConfig
from worldjepa.model.encoder import VideoEncoder
from worldjepa.model.foreign.timm_weights import resample_timm
from worldjepa.model.frozen import TimmBackbone
from worldjepa.settings.model import EncoderConfig
from worldjepa.settings.schema import ConfigError, from_dict
from worldjepa.settings.validate import validate
from worldjepa.settings.validate_model import names_timm, timm_name
from worldjepa.training.checkpoint import Checkpoint, find_checkpoint, load_checkpoint, restore_module


def adopt_frozen(config: TrainConfig) -> TrainConfig:
    """Return settings whose ``model.encoder`` is the one that ``model.frozen`` names.

    So a run's stored settings describe its whole model, and its checkpoints need no other folder. The encoder
    takes one frame a latent step, each alone; pooling stays as it was chosen. Call it on filled settings.

    Raises:
        LoadError: there is no such run or checkpoint.
        ConfigError: its encoder cannot be frozen here, or does not fit the other settings.
    """
    if config.model.frozen is None:
        return config
    if not config.model.frozen:  # as objective=frozen leaves it
        raise ConfigError(
            "model.frozen: an encoder is to be frozen and none is named; set model.frozen=FOLDER (of "
            "python -m worldjepa.convert, or of a run) or model.frozen=timm/NAME"
        )
    config, pool = copy.deepcopy(config), config.model.encoder.projector
    if names_timm(config.model):
        encoder = EncoderConfig(timm=timm_name(config.model))
    else:
        source = from_dict(_read(config).config)
        encoder = source.model.encoder
        if encoder.projector.pool != "none":
            raise ConfigError(
                f"model.frozen={config.model.frozen}: its latents are pooled by a projector; freeze an "
                "encoder of patch tokens, such as one of +experiment=kinetics"
            )
    encoder.attention, encoder.frames_per_step, encoder.window, encoder.projector = "step", 1, None, pool
    config.model.encoder = encoder
    validate(config)
    return config


def load_frozen(encoder: VideoEncoder | TimmBackbone, config: TrainConfig) -> None:
    """Load the pretrained weights of ``model.frozen`` (a run or checkpoint of ours) into a fresh encoder.

    Position tables of a timm model are resampled to its image size.

    Raises:
        LoadError: there is no such run or checkpoint.
        KeyMismatchError: the encoder was not built with its settings.
    """
    checkpoint = _read(config)
    names = [name.split(".")[0] for name in checkpoint.model]
    part = "target_encoder." if "target_encoder" in names else "encoder."
    weights = {k.removeprefix(part): v for k, v in checkpoint.model.items() if k.startswith(part)}
    weights = {k.removeprefix("backbone."): v for k, v in weights.items()}  # of one that was frozen before
    if isinstance(encoder, TimmBackbone):
        weights = resample_timm(encoder, weights)
    restore_module(encoder, weights, source=str(checkpoint.path))


def encoder_settings(encoder: EncoderConfig) -> dict:
    """Return the keyword arguments of ``VideoEncoder``, without its projector."""
    settings = asdict(encoder)
    for name in ("projector", "timm"):
        settings.pop(name)
    return settings


def _read(config: TrainConfig) -> Checkpoint:
    assert config.model.frozen is not None
    return load_checkpoint(find_checkpoint(config.model.frozen), with_optimizer=False)
