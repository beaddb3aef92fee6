"""Real environments through the eyes of a world model: where policies from imagination act and are scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from jaxtyping import Bool, Float32, UInt8

from worldjepa.data.episodes.action_spec import action_spec
from worldjepa.imagination.agent_spaces import ActionBlocks, LatentVectors
from worldjepa.model.world_model import WorldModel
from worldjepa.planning.history import Clock, Track, gather
from worldjepa.planning.observing import Observer


class LatentVectorEnv(VectorEnv):
    """A vector environment with the spaces of ``ImaginedVectorEnv``: latents to see, action blocks to do.

    A step carries a block out, until a row's episode ends; the reward is the sum over it. An episode that
    ends within a block shows its last frame for the rest of that. Rows begin anew in the step that ended
    them (``SameStep``), with ``final_obs`` and ``final_info`` as Gymnasium has them.

    Args:
        env: real environments that show pictures and leave resetting to their user:
            ``gymnasium.make_vec(ID, num_envs=16, vectorization_mode="sync",
            vector_kwargs={"autoreset_mode": "Disabled"})``; where pictures have to be rendered, with
            ``render_mode="rgb_array", wrappers=[gymnasium.wrappers.AddRenderObservation]``.
        model: the world model that the policy was trained with, in eval mode.
        pooled: as in ``ImaginedVectorEnv``.
        pixels: key of the picture in a Dict observation.

    Raises:
        ValueError: another autoreset mode, actions of another width than the model's, or no action predictor.
    """

    def __init__(self, env: VectorEnv, model: WorldModel, *, pooled: bool = False, pixels: str | None = None):
        spec = action_spec(env.single_action_space)
        _check(env, model, spec.dim)
        assert model.predictor is not None
        self.env, self.model, self.num_envs = env, model, env.num_envs
        self.metadata = {**env.metadata, "autoreset_mode": AutoresetMode.SAME_STEP}
        self.render_mode, self.spec = env.render_mode, env.spec
        self.blocks = ActionBlocks(spec, model.action_block)
        self.latents = LatentVectors(model.predictor.grid.p, model.predictor.latent_dim, pooled)
        self.single_observation_space, self.single_action_space = self.latents.space, self.blocks.space
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._clock = Clock.of(model, 1)
        self._observer = Observer(pixels)
        self._all = np.ones(self.num_envs, bool)
        self._tracks: list[Track] = []
        self._frames: UInt8[np.ndarray, "n y x 3"] = np.zeros((self.num_envs, 0, 0, 3), np.uint8)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin all episodes; seeds and options are those of the real environments."""
        given: Any = seed  # annotated too narrowly
        observation, info = self.env.reset(seed=given, options=options)
        self._tracks = [Track(self._clock) for _ in range(self.num_envs)]
        self._look(observation, self._all)
        self._remember(self._all)
        return self._encoded(), info

    def step(
        self, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Carry out an action block in every row.

        Raises:
            ValueError: actions that are not of the action space (values beyond a Box are clipped).
        """
        if not self._tracks:
            raise gymnasium.error.ResetNeeded("call reset() before step()")
        taken = self.blocks.to_env(actions)
        vectors = self.blocks.spec.from_env(taken)
        rewards, (terminated, truncated, ended) = np.zeros(self.num_envs), np.zeros((3, self.num_envs), bool)
        told: dict[str, Any] = {}
        for now in range(self.blocks.length):
            if ended.any():  # only that the other rows may go on: what these do then is not looked at
                self.env.reset(options={"reset_mask": ended})
            observation, reward, stopped, cut, info = self.env.step(taken[:, now])
            running = ~(terminated | truncated)
            ended = stopped | cut
            terminated |= stopped & running
            truncated |= cut & running
            rewards[running] += reward[running]
            _fill(told, info, running)
            for track, vector in zip(self._tracks, vectors[:, now], strict=True):
                track.queue.append(vector)
                track.take()
            self._look(observation, running)
            self._remember(self._all)  # a row that is over goes on seeing what it saw last
        over = terminated | truncated
        infos, observations = _fill({}, told, ~over), self._encoded()
        if over.any():
            observations = self._begin_again(over, observations, told, infos)
        return observations, rewards, terminated, truncated, infos

    def render(self) -> Any:
        """Return what the real environments draw."""
        return self.env.render()

    def close_extras(self) -> None:
        """Close the real environments."""
        self.env.close()

    def _begin_again(
        self,
        over: Bool[np.ndarray, " n"],
        observations: Float32[np.ndarray, "n width"],
        told: dict[str, Any],
        infos: dict[str, Any],
    ) -> Float32[np.ndarray, "n width"]:
        """Reset the rows that are over; return all rows' observations and write the finals into ``infos``."""
        last = np.full(self.num_envs, None, dtype=object)
        for row in np.flatnonzero(over).tolist():
            last[row], self._tracks[row] = observations[row], Track(self._clock)
        observation, begun = self.env.reset(options={"reset_mask": over.copy()})
        self._look(observation, over)
        self._remember(over)
        _fill(infos, begun, over)
        infos |= {"final_obs": last, "_final_obs": over.copy()}
        infos |= {"final_info": _fill({}, told, over), "_final_info": over.copy()}
        return self._encoded()

    def _look(self, observation: Any, rows: Bool[np.ndarray, " n"]) -> None:
        """Take in what ``rows`` show now."""
        frames = self._observer.read(observation).frames.copy()
        if not rows.all():
            frames[~rows] = self._frames[~rows]
        self._frames = frames

    def _remember(self, rows: Bool[np.ndarray, " n"]) -> None:
        for row in np.flatnonzero(rows).tolist():
            self._tracks[row].see(self._frames[row], None)

    @torch.no_grad()
    def _encoded(self) -> Float32[np.ndarray, "n width"]:
        return self.latents.read(gather(self.model, self._tracks, 1).latents[:, -1])


def _fill(into: dict[str, Any], infos: Mapping[str, Any], rows: Bool[np.ndarray, " n"]) -> dict[str, Any]:
    """Copy ``rows`` of a vector environment's infos (masks are arrays among them); return ``into``."""
    for key, values in infos.items():
        if isinstance(values, Mapping):
            into[key] = _fill(into.get(key, {}), values, rows)
            continue
        values = np.asarray(values)
        held = into.get(key, np.full_like(values, None if values.dtype == object else 0))
        # a value may be a whole number in one step and a fraction in the next
        into[key] = held = held.astype(np.result_type(held, values), copy=False)
        held[rows] = values[rows]
    return into


def _check(env: VectorEnv, model: WorldModel, dim: int) -> None:
    mode = env.metadata.get("autoreset_mode")
    if mode is not AutoresetMode.DISABLED:
        raise ValueError(
            f"the environments reset by themselves (autoreset_mode={getattr(mode, 'value', mode)}), also "
            "within an action block; make them with autoreset_mode='Disabled': gymnasium.make_vec(ID, "
            "vectorization_mode='sync', vector_kwargs={'autoreset_mode': 'Disabled'})"
        )
    if model.predictor is None or model.predictor.action_dim != dim * model.action_block:
        reads = "none" if model.predictor is None else model.predictor.action_dim
        raise ValueError(
            f"the environments take actions of {dim} numbers, blocks of {model.action_block} steps have "
            f"{dim * model.action_block}; the model reads {reads}: pass the environments it was trained in"
        )
    if model.training:
        raise ValueError("the model is in training mode; call model.eval() before encoding with it")
