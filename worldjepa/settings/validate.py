"""Whether settings make sense together: known names, ranges, sizes that divide. No torch.

Types and names of settings are checked in ``schema.py``; here, what the types cannot say. ``None`` (left
unset) passes: the same checks run again once it is filled.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from worldjepa.config import VIDEO_KINDS, WORLD_KINDS, DataConfig, OptimConfig, TrainConfig
from worldjepa.settings.env import EnvConfig
from worldjepa.settings.masking import STRATEGIES
from worldjepa.settings.ranges import at_least, at_most, divides, one_of, ordered, positive, require, share
from worldjepa.settings.schema import ConfigError, build
from worldjepa.settings.validate_agent import check_agent
from worldjepa.settings.validate_model import check_model, check_objective
from worldjepa.settings.validate_plan import check_planning

LAYOUTS = {
    **dict.fromkeys(VIDEO_KINDS, ("auto", "csv", "folders", "flat", "ssv2", "images")),
    **dict.fromkeys(WORLD_KINDS, ("auto", "episodes", "minari", "lerobot")),
    "none": ("auto",),
}
READERS = ("auto", "pyav", "decord", "torchcodec")
TEMPORAL = ("causal_multi_block", "future", "random_frames")  # strategies that need two latent steps


def validate(config: TrainConfig) -> None:
    """Raise ``ConfigError`` for the first setting out of range, saying what would do."""
    at_least("seed", config.seed, 0)
    one_of("device", config.device, ("auto", "cpu", "cuda"), "; choose one GPU with CUDA_VISIBLE_DEVICES")
    one_of("objective.kind", config.objective.kind, tuple(LAYOUTS))
    _check_data(config.data, LAYOUTS[config.objective.kind])
    _check_env(config.env)
    at_least("collect.num_episodes", config.collect.num_episodes, 1)
    check_model(config)
    check_objective(config)
    _check_masking(config)
    _check_optim(config.optim)
    _check_loop(config)
    check_planning(config.plan)
    check_agent(config)


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
    one_of(f"{where}.strategy", entry["strategy"], tuple(STRATEGIES))
    if any(_holds_target(value) for value in values.values()):
        raise ConfigError(f"{where}: _target_ stands beside the parameters, not inside one")
    strategy = build(STRATEGIES[entry["strategy"]], values, f"{where}.")
    _check_strategy(where, strategy)
    return strategy


# --- the rooms of a configuration ----------------------------------------------------------------


def _check_data(data: DataConfig, layouts: tuple[str, ...]) -> None:
    one_of("data.layout", data.layout, layouts)
    one_of("data.reader", data.reader, READERS)
    one_of("data.short_clips", data.short_clips, ("repeat_last", "loop"))
    for name in ("num_frames", "size", "frame_skip"):
        at_least(f"data.{name}", getattr(data, name), 1)
    at_most("data.size", data.size, 8192)
    at_least("data.num_workers", data.num_workers, 0)
    positive("data.fps", data.fps)
    positive("data.timeout_s", data.timeout_s)
    if data.fps is not None and data.frame_skip is not None:
        raise ConfigError(
            f"data.fps={data.fps} and data.frame_skip={data.frame_skip} both say which frames to take; "
            f"set one of them to null"
        )
    if data.crop_scale is not None:
        ordered("data.crop_scale", data.crop_scale, 1.0)
    ordered("data.crop_aspect", data.crop_aspect)
    share("data.flip", data.flip)
    share("data.max_bad_share", data.max_bad_share)
    if data.root is not None and data.sources:
        raise ConfigError("data.root and data.sources both name the files; set one of them")
    for index, source in enumerate(data.sources):
        if source.root in ("", "???"):
            raise ConfigError(f"data.sources[{index}].root: a source needs a root, such as {{root: /videos}}")
        one_of(f"data.sources[{index}].layout", source.layout, layouts)
        positive(f"data.sources[{index}].weight", source.weight)


def _check_env(env: EnvConfig) -> None:
    at_least("env.num_envs", env.num_envs, 1)
    at_least("env.max_episode_steps", env.max_episode_steps, 1)
    positive("env.timeout_s", env.timeout_s)


def _check_masking(config: TrainConfig) -> None:
    if config.objective.kind in WORLD_KINDS:
        return
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
            at_least(name, value, 1)
        elif field.name in ("ratio", "context_share"):
            require(0 < value < 1, name, value, "a share between 0 and 1, both excluded")
        elif "aspect" in field.name:
            ordered(name, value)
        else:
            assert field.name.endswith("scale"), field.name
            ordered(name, value, 1.0)


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


def _check_optim(optim: OptimConfig) -> None:
    positive("optim.lr", optim.lr)
    for name in ("start_lr", "final_lr"):
        at_least(f"optim.{name}", getattr(optim, name), 0)
    if optim.schedule is not None:
        one_of("optim.schedule", optim.schedule, ("wsd", "cosine", "constant"))
    if optim.warmup is not None:
        share("optim.warmup", optim.warmup)
    share("optim.cooldown", optim.cooldown)
    if optim.schedule == "wsd" and (optim.warmup or 0.0) + optim.cooldown > 1:
        raise ConfigError(
            f"optim.warmup={optim.warmup} and optim.cooldown={optim.cooldown} are shares of the steps "
            f"and add up to more than 1; set optim.cooldown={1 - (optim.warmup or 0.0):g} or less"
        )
    for value in optim.weight_decay:
        at_least("optim.weight_decay", value, 0)
    for value in optim.betas:
        require(0 <= value < 1, "optim.betas", list(optim.betas), "two numbers from 0 to below 1")
    positive("optim.eps", optim.eps)
    positive("optim.grad_clip", optim.grad_clip, "; to clip nothing set optim.grad_clip=null")
    for value in optim.ema or ():
        share("optim.ema", value)


def _check_loop(config: TrainConfig) -> None:
    train = config.train
    for name in ("steps", "batch_size", "accumulate", "checkpoint_every", "keep_last", "keep_every"):
        at_least(f"train.{name}", getattr(train, name), 1)
    for name in ("log_every", "health_every", "picture_every"):
        at_least(f"train.{name}", getattr(train, name), 1)
    at_least("train.max_skipped", train.max_skipped, 0)
    if train.precision is not None:
        one_of("train.precision", train.precision, ("fp32", "bf16"))
    if train.batch_size is not None:
        divides("train.batch_size", train.batch_size, "train.accumulate", train.accumulate)
