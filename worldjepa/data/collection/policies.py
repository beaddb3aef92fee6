"""Who acts while episodes are collected: random, smooth, the environment's own script, or a user's function.

A policy is begun anew for each episode, with a generator of the episode's own, and remembers nothing between
episodes: what it does follows from the episode's seed alone, whatever else is collected beside it.
"""

from __future__ import annotations

import copy
import importlib
import math
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from jaxtyping import Float

Act = Callable[[Any, Mapping[str, Any]], Any]  # (observation, info) -> what env.step takes
Begin = Callable[[spaces.Space, np.random.Generator, gymnasium.Env | None], Act]

CORRELATION = math.exp(-1 / 10)  # of smooth noise from one step to the next: down to 1/e in 10 steps


class PolicyError(ValueError):
    """The policy cannot be used here; the message is one line for the person who chose it."""


def find_policy(name: str) -> Begin:
    """Return what begins the policy ``name`` for an episode: ``begin(action_space, generator, env) -> act``.

    ``name`` is random, smooth, scripted, or ``package.module:callable``. Raises ``PolicyError``.
    """
    if name in POLICIES:
        return POLICIES[name]
    return _users_own(name, _import(name))


# --- of our own ----------------------------------------------------------------------------------


def begin_random(space: spaces.Space, generator: np.random.Generator, env: gymnasium.Env | None) -> Act:
    """Begin ``space.sample()``, seeded."""
    own = copy.deepcopy(space)
    own.seed(int(generator.integers(2**31)))
    return lambda observation, info: own.sample()


def begin_smooth(space: spaces.Space, generator: np.random.Generator, env: gymnasium.Env | None) -> Act:
    """Begin noise that is correlated in time, by ``CORRELATION`` from one step to the next.

    Box: an Ornstein-Uhlenbeck (AR(1)) process for each component, mapped onto its bounds so that every value
    between them is as likely as another, as with ``random`` (normal where there are no bounds). Discrete and
    MultiDiscrete: each choice is kept with probability ``CORRELATION``, else drawn anew.
    """
    if isinstance(space, spaces.Box):
        return _smooth_box(space, generator)
    sampled = begin_random(space, generator, env)
    choice = np.asarray(sampled({}, {}))
    first = True

    def act(observation: Any, info: Mapping[str, Any]) -> Any:
        nonlocal choice, first
        anew = generator.random(choice.shape) >= (0.0 if first else CORRELATION)
        first = False
        choice = np.where(anew, sampled(observation, info), choice).astype(space.dtype)
        return choice[()]

    return act


def _smooth_box(space: spaces.Box, generator: np.random.Generator) -> Act:
    noise = generator.standard_normal(space.shape)
    step = math.sqrt(1 - CORRELATION**2)  # keeps the variance at 1

    def act(observation: Any, info: Mapping[str, Any]) -> Any:
        nonlocal noise
        values = _between(space, noise)
        noise = CORRELATION * noise + step * generator.standard_normal(space.shape)
        return values

    return act


def _between(space: spaces.Box, noise: Float[np.ndarray, "..."]) -> np.ndarray:
    """Return standard normal values as values of ``space``, evenly spread where it has both bounds."""
    share = np.array([0.5 * math.erfc(-x / math.sqrt(2)) for x in noise.flat]).reshape(space.shape)
    both = space.bounded_below & space.bounded_above
    low, high = (
        np.where(np.isfinite(edge), edge, 0.0).astype(np.float64) for edge in (space.low, space.high)
    )
    half = np.where(space.bounded_below, low + np.abs(noise), high - np.abs(noise))
    one = space.bounded_below ^ space.bounded_above
    values = np.where(both, low + share * (high - low), np.where(one, half, noise))
    return (np.rint(values) if np.issubdtype(space.dtype, np.integer) else values).astype(space.dtype)


def begin_scripted(space: spaces.Space, generator: np.random.Generator, env: gymnasium.Env | None) -> Act:
    """Begin ``scripted_actions(generator)`` of the environment or a wrapper, which look at its true state."""
    if env is None or not env.has_wrapper_attr("scripted_actions"):
        kind = type(env.unwrapped).__name__ if env is not None else "the environment"
        raise PolicyError(
            f"policy=scripted: {kind} has no method scripted_actions(generator) that returns an action; "
            "choose random, smooth or package.module:callable"
        )
    script = env.get_wrapper_attr("scripted_actions")
    return lambda observation, info: script(generator)


POLICIES: dict[str, Begin] = {"random": begin_random, "smooth": begin_smooth, "scripted": begin_scripted}


# --- of the user's -------------------------------------------------------------------------------


def _import(name: str) -> Callable[..., Any]:
    module_name, _, attribute = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # a module of the user's can raise anything
        raise PolicyError(f"policy={name}: importing {module_name} failed ({_told(error)})") from error
    found = getattr(module, attribute, None)
    if not callable(found):
        near = [own for own, value in vars(module).items() if callable(value) and not own.startswith("_")]
        raise PolicyError(
            f"policy={name}: {module_name} has no callable {attribute!r}; it has {', '.join(near) or 'none'}"
        )
    return found


def _users_own(name: str, policy: Callable[..., Any]) -> Begin:
    """Return what begins ``policy(observation, info, action_space, generator) -> action``.

    Of a class, an object is made for each episode and called likewise, so that it may remember.
    """

    def begin(space: spaces.Space, generator: np.random.Generator, env: gymnasium.Env | None) -> Act:
        def act(observation: Any, info: Mapping[str, Any]) -> Any:
            try:
                action = chosen(observation, info, space, generator)
            except Exception as error:  # the user's own code can raise anything
                raise PolicyError(f"policy={name} raised {_told(error)}") from error
            return checked_action(action, space, name)

        try:
            chosen = policy() if isinstance(policy, type) else policy
        except Exception as error:  # likewise
            raise PolicyError(f"policy={name}() raised {_told(error)}") from error
        return act

    return begin


def checked_action(action: Any, space: spaces.Space, name: str) -> Any:
    """Return an action as ``space`` takes it, Box values clipped to the bounds.

    Raises ``PolicyError`` where shape or kind are wrong, or a value is not finite or not among the choices.
    """
    values = np.asarray(action)
    right = values.shape == space.shape and (values.dtype.kind in "fiub")
    if right and isinstance(space, spaces.Box):
        if np.isfinite(values).all():
            return np.clip(values, space.low, space.high).astype(space.dtype)[()]
    elif right and values.dtype.kind in "iu" and space.contains(values.astype(space.dtype)):
        return values.astype(space.dtype)[()]  # a number, not an array, where there is no axis
    raise PolicyError(f"policy={name} returned {_shown(action)}; expected an action of {space}")


def _shown(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) < 80 else f"{text[:80]} ... ({type(value).__name__})"


def _told(error: BaseException) -> str:
    """Return an exception as one line with the place that raised it."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    place = f" ({frame.tb_frame.f_code.co_filename}:{frame.tb_lineno})" if frame is not None else ""
    return f"{type(error).__name__}: {' '.join(str(error).split())}{place}"
