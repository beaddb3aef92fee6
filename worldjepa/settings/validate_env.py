"""Whether the settings of an environment and of a collection make sense. No torch, no Gymnasium."""

from __future__ import annotations

import re

from worldjepa.settings.env import CollectConfig, EnvConfig
from worldjepa.settings.ranges import at_least, positive
from worldjepa.settings.schema import ConfigError, did_you_mean

POLICIES = ("random", "smooth", "scripted")
# arguments of an environment that have a setting of their own, or that the collector needs for itself
_TAKEN = {
    "max_episode_steps": "set env.max_episode_steps instead",
    "num_envs": "set env.num_envs instead",
    "autoreset_mode": "leave it out",
    "vectorization_mode": "leave it out",
    "disable_env_checker": "leave it out",
}


def validate_collection(config: CollectConfig) -> None:
    """Raise ``ConfigError`` for the first setting of ``python -m worldjepa.collect`` that cannot be right."""
    require_env(config.env)
    check_env(config.env)
    check_policy("policy", config.policy)
    at_least("seed", config.seed, 0)
    at_least("num_episodes", config.num_episodes, 1)
    at_least("data.size", config.data.size, 8)


def require_env(env: EnvConfig) -> None:
    """Raise ``ConfigError`` if no environment is named."""
    if not env.id:
        raise ConfigError(
            "env.id: no environment is named; add one, such as env.id=worldjepa/TwoRooms-v0 or "
            "env.id=package.module:Name-v0"
        )


def check_env(env: EnvConfig) -> None:
    """Raise ``ConfigError`` for the first setting of ``env`` out of range."""
    at_least("env.num_envs", env.num_envs, 1)
    at_least("env.max_episode_steps", env.max_episode_steps, 1)
    positive("env.timeout_s", env.timeout_s)
    for name, advice in _TAKEN.items():
        if name in env.kwargs:
            raise ConfigError(f"env.kwargs.{name}: this argument is not for env.kwargs; {advice}")
    cameras = [name.strip() for name in env.pixels.split(",")] if env.pixels is not None else ["one"]
    for setting, names in (
        ("env.pixels", cameras),
        ("env.proprioception", env.proprioception),
        ("env.state", env.state),
    ):
        if "" in names or len(set(names)) < len(names):
            raise ConfigError(f"{setting}: expected names, each once; got {', '.join(map(repr, names))}")


def check_policy(setting: str, policy: str) -> None:
    """Raise ``ConfigError`` unless ``policy`` is one of ours or ``package.module:callable``."""
    if policy in POLICIES or re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", policy):
        return
    raise ConfigError(
        f"{setting}={policy}: expected {', '.join(POLICIES)} or package.module:callable"
        f"{did_you_mean(policy, POLICIES)}"
    )
