"""Settings to objects: the only file that knows both."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import nn

from worldjepa.config import TrainConfig
from worldjepa.model.action_predictor import ActionPredictor
from worldjepa.model.action_stats import ActionStats
from worldjepa.model.decoder import PixelDecoder
from worldjepa.model.encoder import VideoEncoder
from worldjepa.model.frozen import FrozenEncoder, TimmBackbone
from worldjepa.model.heads import PixelHead, ScalarHead, VectorHead
from worldjepa.model.iris.dynamics import TokenDynamics
from worldjepa.model.iris.tokenizer import FrameDecoder, FrameTokenizer
from worldjepa.model.predictor import MaskedPredictor
from worldjepa.model.projector import Projector
from worldjepa.model.world_model import WorldModel
from worldjepa.run_episodes import describe_actions
from worldjepa.seeding import derive_seed
from worldjepa.settings.compose import compose, fill
from worldjepa.settings.model import ModelConfig
from worldjepa.settings.schema import ConfigError
from worldjepa.settings.validate_model import names_timm, timm_name
from worldjepa.training.pretrained import adopt_frozen, encoder_settings, load_frozen


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
        if config.objective.kind == "iris":
            return _token_model(config, config.data.size)
        if config.objective.kind == "none":
            norm = config.model.latent_norm
            return WorldModel(encoder=_encoder_alone(config), image_size=config.data.size, latent_norm=norm)
        encoder = VideoEncoder(**encoder_settings(config.model.encoder))
        predictor = None
        if config.objective.kind in ("masked", "ijepa"):
            predictor = _masked_predictor(config.model, num_mask_tokens=max(1, len(config.masking)))
    latent_targets = predictor is not None or config.objective.kind == "byol"
    return WorldModel(
        encoder=encoder,
        target_encoder=copy.deepcopy(encoder) if latent_targets else None,
        masked_predictor=predictor,
        image_size=config.data.size,
        latent_norm=config.model.latent_norm,
    )


def _action_dim(model: ModelConfig) -> int:
    if model.action_dim is None:
        raise ConfigError(
            "model.action_dim is unset: it is that of the episodes, which a run finds out; without one set "
            "it, for example model.action_dim=2"
        )
    return model.action_dim


def _token_model(config: TrainConfig, size: int) -> WorldModel:
    """Build tokenizer, the transformer over its tokens, and the decoder that draws them."""
    model, sizes = config.model, asdict(config.model.predictor)
    encoder = _encoder(model, size)
    tokenizer = FrameTokenizer(encoder, image_size=size, **asdict(model.tokens))
    grid, patch = tokenizer.latent_grid(size, size), encoder.embed.patch_size
    pixels, narrow = encoder.embed.proj.in_features, decoder_sizes(model)
    drawing = PixelDecoder(latent_dim=tokenizer.latent_dim, pixels=pixels, **narrow)
    return WorldModel(
        encoder=tokenizer,
        predictor=TokenDynamics(
            tokenizer.codebook,
            action_dim=model.action_block * _action_dim(model),
            grid=grid,
            **{name: sizes[name] for name in ("dim", "depth", "num_heads", "mlp_ratio")},
        ),
        heads={"pixels": FrameDecoder(drawing, tokenizer.contrast, grid=grid, patch_size=patch)},
        action_stats=ActionStats(_action_dim(model)),
        action_block=model.action_block,
        image_size=size,
        fit=model.fit or "crop",
        latent_norm="none",
    )


def decoder_sizes(model: ModelConfig) -> dict[str, Any]:
    """Return the sizes of a pixel decoder: those of the masked predictor, which it has in its place."""
    sizes = asdict(model.masked_predictor)
    del sizes["num_mask_tokens"]
    return sizes | {"positions": model.encoder.positions, "rope": model.encoder.rope}


def _dynamics_model(config: TrainConfig, size: int, pretrained: bool) -> WorldModel:
    """Build encoder, action predictor and heads; the EMA target where there is one."""
    model, action_dim = config.model, _action_dim(config.model)
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
            action_dim=model.action_block * action_dim,
            grid=grid,
            proprioception_dim=model.proprioception_dim or 0,
            **asdict(model.predictor),
        ),
        heads={name: _head(name, config, encoder.latent_dim, grid) for name in model.heads},
        action_stats=ActionStats(action_dim),
        action_block=model.action_block,
        image_size=size,
        fit=model.fit or "crop",
        latent_norm=model.latent_norm,
    )


def _encoder(model: ModelConfig, size: int) -> VideoEncoder:
    encoder = model.encoder
    projector = None
    if encoder.projector.pool != "none":
        num_tokens = (size // encoder.patch_size) ** 2
        projector = Projector(dim=encoder.dim, num_tokens=num_tokens, **asdict(encoder.projector))
    return VideoEncoder(**encoder_settings(encoder), projector=projector)


def _encoder_alone(config: TrainConfig) -> VideoEncoder | FrozenEncoder:
    """Build a converted encoder; its weights are to follow."""
    encoder, size = config.model.encoder, config.data.size
    assert size is not None
    if encoder.timm is None:
        return VideoEncoder(**encoder_settings(encoder))
    return FrozenEncoder(TimmBackbone(encoder.timm, image_size=size, pretrained=False))


def _frozen_encoder(config: TrainConfig, size: int, pretrained: bool) -> FrozenEncoder:
    """Build the encoder that ``model.frozen`` names; ``model.encoder`` describes it (``adopt_frozen``)."""
    name, fetched = timm_name(config.model), names_timm(config.model)
    if name is not None:
        backbone = TimmBackbone(name, image_size=size, pretrained=pretrained and fetched)
    else:
        backbone = VideoEncoder(**encoder_settings(config.model.encoder))
    if pretrained and not fetched:
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
    encoder, settings = model.encoder, asdict(model.masked_predictor)
    settings["num_mask_tokens"] = settings["num_mask_tokens"] or num_mask_tokens
    return MaskedPredictor(latent_dim=encoder.dim, positions=encoder.positions, rope=encoder.rope, **settings)
