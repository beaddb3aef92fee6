"""Whether settings make sense together: known names, ranges, sizes that divide. No torch.

Types and names of settings are checked in ``schema.py``; here, what the types cannot say. ``None`` (left
unset) passes: the same checks run again once it is filled.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from worldjepa.config import (
    STRATEGIES,
    DataConfig,
    EncoderConfig,
    ModelConfig,
    ObjectiveConfig,
    OptimConfig,
    TrainConfig,
)
from worldjepa.schema import ConfigError, build, did_you_mean

LAYOUTS = ("auto", "csv", "folders", "flat", "ssv2", "images")
READERS = ("pyav", "decord", "torchcodec")
ATTENTIONS = ("full", "step", "causal", "factorised")
LOSSES = ("l1", "l2", "smooth_l1", "cosine")
TERMS = ("prediction", "variance", "covariance", "consistency", "sigreg")
TEMPORAL = ("causal_multi_block", "future", "random_frames")  # strategies that need two latent steps


def validate(config: TrainConfig) -> None:
    """Raise ``ConfigError`` for the first setting out of range, saying what would do."""
    _at_least("seed", config.seed, 0)
    _one_of("device", config.device, ("auto", "cpu", "cuda"), "; choose one GPU with CUDA_VISIBLE_DEVICES")
    _check_data(config.data)
    _check_model(config.model)
    _check_fit(config.data, config.model.encoder)
    _check_masking(config)
    _check_objective(config.objective)
    _check_optim(config.optim)
    _check_loop(config)


def require_data(config: TrainConfig) -> None:
    """Raise ``ConfigError`` if the experiment reads files of a layout of its own and none are named.

    With ``layout=auto`` and no root there is the built-in corpus.
    """
    data = config.data
    if data.root is None and not data.sources and data.layout != "auto":
        raise ConfigError(
            f"data.root: experiment {config.experiment} reads your files (data.layout={data.layout}) "
            f"and none are named; set data.root=FOLDER"
        )


def read_strategy(name: str, entry: Any) -> Any:
    """Return ``masking.<name>`` as a dataclass of ``STRATEGIES``, or as it is if it names a ``_target_``.

    ``entry`` is ``{strategy: <name of STRATEGIES>, <field>: <value>, ...}``, or a user's own callable as
    ``{_target_: package.module.function, <parameter>: <value>, ...}``.
    """
    where = f"masking.{name}"
    if not isinstance(entry, Mapping) or ("strategy" in entry) == ("_target_" in entry):
        raise ConfigError(
            f"{where}: expected {{strategy: NAME, ...}} with a NAME of {', '.join(STRATEGIES)}, or "
            f"{{_target_: package.module.function, ...}}; got {entry!r}"
        )
    values = {str(key): value for key, value in entry.items() if key != "strategy"}
    if "_target_" in entry:
        _check_target(where, values)
        return dict(entry)
    _one_of(f"{where}.strategy", entry["strategy"], tuple(STRATEGIES))
    if any(_holds_target(value) for value in values.values()):
        raise ConfigError(f"{where}: _target_ stands beside the parameters, not inside one")
    strategy = build(STRATEGIES[entry["strategy"]], values, f"{where}.")
    _check_strategy(where, strategy)
    return strategy


# --- the rooms of a configuration ----------------------------------------------------------------


def _check_data(data: DataConfig) -> None:
    _one_of("data.layout", data.layout, LAYOUTS)
    _one_of("data.reader", data.reader, READERS)
    _one_of("data.short_clips", data.short_clips, ("repeat_last", "loop"))
    for name in ("num_frames", "size", "frame_skip"):
        _at_least(f"data.{name}", getattr(data, name), 1)
    _at_least("data.num_workers", data.num_workers, 0)
    _positive("data.fps", data.fps)
    if data.fps is not None and data.frame_skip is not None:
        raise ConfigError(
            f"data.fps={data.fps} and data.frame_skip={data.frame_skip} both say which frames to take; "
            f"set one of them to null"
        )
    if data.crop_scale is not None:
        _ordered("data.crop_scale", data.crop_scale, 1.0)
    _ordered("data.crop_aspect", data.crop_aspect)
    _share("data.flip", data.flip)
    _share("data.max_bad_share", data.max_bad_share)
    if data.root is not None and data.sources:
        raise ConfigError("data.root and data.sources both name the files; set one of them")
    for index, source in enumerate(data.sources):
        if source.root in ("", "???"):
            raise ConfigError(f"data.sources[{index}].root: a source needs a root, such as {{root: /videos}}")
        _one_of(f"data.sources[{index}].layout", source.layout, LAYOUTS)
        _positive(f"data.sources[{index}].weight", source.weight)


def _check_model(model: ModelConfig) -> None:
    _one_of("model.latent_norm", model.latent_norm, ("layer", "none"))
    encoder = model.encoder
    for place, net in (("model.encoder", encoder), ("model.masked_predictor", model.masked_predictor)):
        for name in ("dim", "depth", "num_heads"):
            _at_least(f"{place}.{name}", getattr(net, name), 1)
        _positive(f"{place}.mlp_ratio", net.mlp_ratio)
        _divides(f"{place}.dim", net.dim, f"{place}.num_heads", net.num_heads)
        width = net.dim // net.num_heads
        if encoder.positions == "rope" and width < 6:
            raise ConfigError(
                f"{place}: {net.dim} wide with {net.num_heads} heads leaves {width} dimensions a head; "
                f"rotary positions in time, height and width need 6; set {place}.num_heads="
                f"{max(1, net.dim // 6)} or less"
            )
    _at_least("model.encoder.patch_size", encoder.patch_size, 1)
    _at_least("model.encoder.tubelet_size", encoder.tubelet_size, 1)
    _one_of("model.encoder.positions", encoder.positions, ("rope", "sincos"))
    _one_of("model.encoder.rope", encoder.rope, ("paired", "vjepa2"))
    _one_of("model.encoder.attention", encoder.attention, ATTENTIONS)
    if encoder.frames_per_step not in (None, 1, encoder.tubelet_size):
        raise ConfigError(
            f"model.encoder.frames_per_step={encoder.frames_per_step}: expected 1 (a frame repeated to fill "
            f"its tubelet) or tubelet_size={encoder.tubelet_size}"
        )
    _at_least("model.encoder.window", encoder.window, 1)
    if encoder.window is not None and encoder.attention not in ("causal", "factorised"):
        raise ConfigError(
            f"model.encoder.window={encoder.window} needs attention over earlier steps, and attention is "
            f"{encoder.attention}; set model.encoder.attention=causal, or model.encoder.window=null"
        )


def _check_fit(data: DataConfig, encoder: EncoderConfig) -> None:
    """Frames must fill tubelets and pixels must fill patches."""
    tubelet, patch = encoder.frames_per_step or encoder.tubelet_size, encoder.patch_size
    if data.num_frames is not None and data.num_frames % tubelet:
        raise ConfigError(
            f"data.num_frames={data.num_frames}: a clip has {data.num_frames} frames; tubelet_size={tubelet} "
            f"needs a multiple of {tubelet}; set data.num_frames={_near_multiple(data.num_frames, tubelet)}"
        )
    if data.size is not None and data.size % patch:
        raise ConfigError(
            f"data.size={data.size}: frames are {data.size} px high; patch_size={patch} needs a multiple of "
            f"{patch}; set data.size={_near_multiple(data.size, patch)}"
        )


def _check_masking(config: TrainConfig) -> None:
    encoder, frames = config.model.encoder, config.data.num_frames
    steps = frames // (encoder.frames_per_step or encoder.tubelet_size) if frames else None
    for name, entry in config.masking.items():
        read_strategy(name, entry)
        if frames is not None and steps == 1 and entry.get("strategy") in TEMPORAL:
            raise ConfigError(
                f"masking.{name}: {entry['strategy']} hides later latent steps, and a clip of "
                f"data.num_frames={frames} has one; set data.num_frames={2 * frames}, or masking=image"
            )


def _check_strategy(where: str, strategy: Any) -> None:
    for field in dataclasses.fields(strategy):
        value, name = getattr(strategy, field.name), f"{where}.{field.name}"
        if field.name in ("num_blocks", "num_targets"):
            _at_least(name, value, 1)
        elif field.name in ("ratio", "context_share"):
            _require(0 < value < 1, name, value, "a share between 0 and 1, both excluded")
        elif "aspect" in field.name:
            _ordered(name, value)
        else:
            assert field.name.endswith("scale"), field.name
            _ordered(name, value, 1.0)


def _check_target(where: str, values: Mapping[str, Any]) -> None:
    target = values["_target_"]
    if not isinstance(target, str) or not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", target):
        raise ConfigError(f"{where}._target_: expected package.module.function, got {target!r}")
    if any(_holds_target(value) for key, value in values.items() if key != "_target_"):
        raise ConfigError(f"{where}: _target_ stands beside the parameters, not inside one")


def _holds_target(value: Any) -> bool:
    if isinstance(value, Mapping):
        return "_target_" in value or any(_holds_target(item) for item in value.values())
    return isinstance(value, (list, tuple)) and any(_holds_target(item) for item in value)


def _check_objective(objective: ObjectiveConfig) -> None:
    if objective.loss is not None:
        _one_of("objective.loss", objective.loss, LOSSES)
    for term, weight in objective.weights.items():
        if term not in TERMS:
            raise ConfigError(
                f"objective.weights.{term}: there is no such loss term; expected some of {', '.join(TERMS)}"
                f"{did_you_mean(term, TERMS)}"
            )
        _at_least(f"objective.weights.{term}", weight, 0)
    if not objective.weights.get("prediction"):
        raise ConfigError(
            "objective.weights.prediction: the predictor learns from this term alone; expected more than 0, "
            f"got {objective.weights.get('prediction')}"
        )
    _at_least("objective.sigreg_projections", objective.sigreg_projections, 1)
    _at_least("objective.sigreg_knots", objective.sigreg_knots, 2)


def _check_optim(optim: OptimConfig) -> None:
    _positive("optim.lr", optim.lr)
    for name in ("start_lr", "final_lr"):
        _at_least(f"optim.{name}", getattr(optim, name), 0)
    if optim.schedule is not None:
        _one_of("optim.schedule", optim.schedule, ("wsd", "cosine", "constant"))
    if optim.warmup is not None:
        _share("optim.warmup", optim.warmup)
    _share("optim.cooldown", optim.cooldown)
    if optim.schedule == "wsd" and (optim.warmup or 0.0) + optim.cooldown > 1:
        raise ConfigError(
            f"optim.warmup={optim.warmup} and optim.cooldown={optim.cooldown} are shares of the steps "
            f"and add up to more than 1; set optim.cooldown={1 - (optim.warmup or 0.0):g} or less"
        )
    for value in optim.weight_decay:
        _at_least("optim.weight_decay", value, 0)
    for value in optim.betas:
        _require(0 <= value < 1, "optim.betas", list(optim.betas), "two numbers from 0 to below 1")
    _positive("optim.eps", optim.eps)
    _positive("optim.grad_clip", optim.grad_clip, "; to clip nothing set optim.grad_clip=null")
    for value in optim.ema or ():
        _share("optim.ema", value)


def _check_loop(config: TrainConfig) -> None:
    train = config.train
    for name in ("steps", "batch_size", "accumulate", "checkpoint_every", "keep_last", "keep_every"):
        _at_least(f"train.{name}", getattr(train, name), 1)
    for name in ("log_every", "health_every", "picture_every"):
        _at_least(f"train.{name}", getattr(train, name), 1)
    _at_least("train.max_skipped", train.max_skipped, 0)
    if train.precision is not None:
        _one_of("train.precision", train.precision, ("fp32", "bf16"))
    if train.batch_size is not None:
        _divides("train.batch_size", train.batch_size, "train.accumulate", train.accumulate)


# --- single checks -------------------------------------------------------------------------------


def _require(right: bool, name: str, value: Any, expected: str, advice: str = "") -> None:
    if not right:
        raise ConfigError(f"{name}={value}: expected {expected}{advice}")


def _one_of(name: str, value: Any, names: Sequence[str], advice: str = "") -> None:
    if value not in names:
        near = did_you_mean(str(value), names)
        raise ConfigError(f"{name}={value}: expected one of {', '.join(names)}{near or advice}")


def _unless_none(check: Callable[..., bool], value: Any) -> bool:
    return value is None or check(value)


def _at_least(name: str, value: float | None, low: int) -> None:
    _require(_unless_none(lambda x: x >= low, value), name, value, f"{low} or more")


def _positive(name: str, value: float | None, advice: str = "") -> None:
    _require(_unless_none(lambda x: x > 0, value), name, value, "more than 0", advice)


def _share(name: str, value: float) -> None:
    _require(0 <= value <= 1, name, value, "a share from 0 to 1")


def _ordered(name: str, pair: Sequence[float], high: float = float("inf")) -> None:
    top = f" and at most {high:g}" if high < float("inf") else ""
    expected = f"[smallest, largest], more than 0{top}, smallest first"
    _require(0 < pair[0] <= pair[1] <= high, name, list(pair), expected)


def _divides(name: str, value: int, by: str, divisor: int) -> None:
    if value % divisor:
        raise ConfigError(
            f"{name}={value} is not a multiple of {by}={divisor}; set {name}={_near_multiple(value, divisor)}"
        )


def _near_multiple(value: int, unit: int) -> int:
    return max(unit, round(value / unit) * unit)
