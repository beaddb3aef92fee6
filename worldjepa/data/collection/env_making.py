"""An environment by its id: found in Gymnasium's registry, made alone or, where it can be, as a batch."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

import gymnasium
from gymnasium import error
from gymnasium.envs.registration import (
    EnvSpec,
    find_highest_version,
    get_env_id,
    load_env_creator,
    parse_env_id,
)
from gymnasium.vector import AutoresetMode, VectorEnv

from worldjepa.data.collection.moments import UnusableEnvError
from worldjepa.data.collection.recording import RENDER, names_of, picture_sources
from worldjepa.settings.env import EnvConfig

CUT_AT = 1000  # steps after which an episode is cut off, where the environment itself sets no limit


def find_spec(env_id: str) -> EnvSpec:
    """Return the registered spec of ``[module:][namespace/]name[-v0]``; the module is imported first.

    For an unknown namespace, a package of its name is imported, as it may register it. Raises
    ``UnusableEnvError`` with Gymnasium's own did-you-mean.
    """
    module, _, name = env_id.rpartition(":")
    if module:
        _import(module, env_id)
    try:
        try:
            return _registered(name)
        except error.NamespaceNotFound:
            namespace = name.partition("/")[0]
            if not namespace.isidentifier() or importlib.util.find_spec(namespace) is None:
                raise
            _import(namespace, env_id)
            return _registered(name)
    except error.Error as found:
        hint = "" if module else f" If importing a package registers it, write env.id=package:{name}"
        raise UnusableEnvError(f"env.id={env_id}: {' '.join(str(found).split())}{hint}") from found


def make_env(config: EnvConfig) -> gymnasium.Env:
    """Make one environment that can be recorded as ``config`` says.

    Raises ``UnusableEnvError`` where the user has to change something, else whatever the environment raises.
    """
    spec = find_spec(config.id or "")
    kwargs: dict[str, Any] = dict(config.kwargs)
    if config.max_episode_steps is not None:
        kwargs["max_episode_steps"] = config.max_episode_steps
    modes = _render_modes(spec, config)
    draws = config.pixels is None or RENDER in names_of(config.pixels)
    if draws and (modes is None or "rgb_array" in modes):
        kwargs.setdefault("render_mode", "rgb_array")
    try:
        env = gymnasium.make(spec, disable_env_checker=True, **kwargs)
    except (TypeError, ImportError, error.Error) as found:  # a wrong argument, or a package that is missing
        text = " ".join(str(found).split())
        raise UnusableEnvError(
            f"env.id={config.id} cannot be made: {type(found).__name__}: {text}"
        ) from found
    if RENDER in picture_sources(config, env.observation_space) and env.render_mode != "rgb_array":
        raise UnusableEnvError(
            f"env.id={config.id}: its render() gives no pictures (it has the render modes {modes or 'none'}, "
            f"rgb_array is needed); name a key of its observation, {env.observation_space}, with env.pixels="
        )
    return env


def step_limit(env: gymnasium.Env) -> int:
    """Return after how many steps an episode ends, at the latest."""
    limit = env.spec.max_episode_steps if env.spec is not None else None
    return CUT_AT if limit is None else limit


def make_batch(config: EnvConfig, num_envs: int) -> VectorEnv | None:
    """Make ``num_envs`` environments as one, if the id has a vector environment of its own that can be used.

    It has to leave resetting to us (``AutoresetMode.DISABLED``), so that every row begins with its own seed;
    otherwise, None.
    """
    spec = find_spec(config.id or "")
    if spec.vector_entry_point is None:
        return None
    kwargs: dict[str, Any] = {**config.kwargs, "autoreset_mode": AutoresetMode.DISABLED}
    if config.max_episode_steps is not None:
        kwargs["max_episode_steps"] = config.max_episode_steps
    if config.pixels is not None and RENDER in names_of(config.pixels):
        kwargs.setdefault("render_mode", "rgb_array")
    try:
        batch = gymnasium.make_vec(spec, num_envs=num_envs, vectorization_mode="vector_entry_point", **kwargs)
    except Exception:  # it takes no such arguments; single environments say what is wrong, if anything is
        return None
    sources = picture_sources(config, batch.single_observation_space)
    drawn = RENDER not in sources or batch.render_mode == "rgb_array"
    if drawn and batch.metadata.get("autoreset_mode") is AutoresetMode.DISABLED:
        return batch
    batch.close()
    return None


def _registered(name: str) -> EnvSpec:
    namespace, base, version = parse_env_id(name)
    if version is None and name not in gymnasium.registry:  # Gymnasium takes the latest, and so do we
        version = find_highest_version(namespace, base)
    return gymnasium.spec(get_env_id(namespace, base, version))


def _render_modes(spec: EnvSpec, config: EnvConfig) -> list[str] | None:
    """Return the render modes that the environment's class states; None where it states none."""
    try:
        creator = spec.entry_point if callable(spec.entry_point) else load_env_creator(spec.entry_point or "")
    except (ImportError, AttributeError, ValueError) as found:
        raise UnusableEnvError(
            f"env.id={config.id} cannot be made: {type(found).__name__}: {found}"
        ) from found
    metadata = getattr(creator, "metadata", None)
    return metadata.get("render_modes") if isinstance(metadata, dict) else None


def _import(module: str, env_id: str) -> None:
    try:
        importlib.import_module(module)
    except Exception as found:  # a package of anybody's can raise anything
        text = " ".join(str(found).split())
        raise UnusableEnvError(
            f"env.id={env_id}: importing {module} failed ({type(found).__name__}: {text})"
        ) from found
