"""A perfect model: the environment itself, behind what a controller asks of a world (``planning/world.py``).

With the same planner and cost it tells the planner's failures from the model's. Its latent is the true state.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from worldjepa.data.episodes.action_spec import ActionSpec, action_spec
from worldjepa.evaluation.arena import make_vector_env
from worldjepa.settings.env import EnvConfig


class OracleWorld(nn.Module):
    """Predicts environments by simulating every candidate in a vector environment.

    What is measured of a row is its state and the number of its room: the room that seed of ``seeds`` gives.
    Pictures are not looked at, and a goal is a state ``[b 1 z]``.
    """

    def __init__(self, env: EnvConfig, seeds: Sequence[int], *, action_block: int, state_dim: int):
        super().__init__()
        self._config, self._seeds, self._rooms = env, list(seeds), list[int]()
        self.action_block, self.image_size, self.device = action_block, 8, torch.device("cpu")
        self.encoder = SimpleNamespace(frames_per_step=1, attention="step")
        self.heads: dict[str, nn.Module] = {}
        self._simulate([0], 1)
        self.spec: ActionSpec = action_spec(self._env.single_action_space)
        width = self.spec.dim * action_block
        self.predictor = SimpleNamespace(action_dim=width, proprioception_dim=state_dim + 1)
        self.eval()

    def encode(self, frames: Tensor) -> Float[Tensor, "b t 1 1"]:
        """Return nothing of interest: what counts is measured."""
        return torch.zeros(*frames.shape[:2], 1, 1)

    def start(
        self,
        latents: Tensor,
        *,
        past_actions: Tensor | None = None,
        lengths: Tensor | None = None,
        proprioception: Float[Tensor, "b t q"],
    ) -> Float[Tensor, "b q"]:
        """Return what was measured last: nothing else of the past matters."""
        return proprioception[:, -1]

    def rollout(
        self,
        latents: Tensor,
        actions: Float[Tensor, "b *s l a"],
        *,
        past_actions: Tensor | None = None,
        lengths: Tensor | None = None,
        proprioception: Float[Tensor, "b t q"],
    ) -> Float[Tensor, "b *s l 1 z"]:
        """Simulate what follows a context under actions ``[b l a]`` or ``[b s l a]``."""
        state = self.start(latents, proprioception=proprioception)
        candidates = actions if actions.ndim == 4 else actions.unsqueeze(1)
        found = self.futures(state, candidates)
        return found if actions.ndim == 4 else found.squeeze(1)

    def step(
        self, state: Float[Tensor, "b q"], action: Float[Tensor, "b a"]
    ) -> tuple[Float[Tensor, "b q"], Float[Tensor, "b 1 z"]]:
        """Simulate one action block."""
        latent = self.futures(state, action[:, None, None])[:, 0, 0]
        return torch.cat([latent[:, 0], state[:, -1:]], dim=-1), latent

    def futures(
        self, state: Float[Tensor, "b q"], actions: Float[Tensor, "b s l a"]
    ) -> Float[Tensor, "b s l 1 z"]:
        """Simulate the candidates from the state of each row."""
        b, s = actions.shape[:2]
        rooms = state[:, -1].long().tolist()
        if rooms != self._rooms or s > self._each:
            self._simulate(rooms, s)
        each = self._each  # planners may ask for fewer candidates later on; the other rows idle
        moves = np.zeros((self.action_block * actions.shape[2], b, each, self.spec.dim))
        moves[:, :, :s] = rearrange(
            actions.double().numpy(), "b s l (k a) -> (l k) b s a", k=self.action_block
        )
        self._env.set_state(np.repeat(state[:, :-1].numpy(), each, axis=0))
        over = np.zeros(b * each, bool)
        found: list[np.ndarray] = []
        now = np.zeros(0)
        for number, move in enumerate(
            self.spec.to_env(moves.reshape(len(moves), -1, self.spec.dim)), start=1
        ):
            _, _, terminated, truncated, info = self._env.step(move)
            fresh = _state(info, self._config.state)
            now = fresh if number == 1 else np.where(over[:, None], now, fresh)
            ended = terminated | truncated
            over |= ended
            if ended.any():  # it goes on unseen
                self._env.reset(seed=self._room_seeds(), options={"reset_mask": ended})
            if number % self.action_block == 0:
                found.append(now)
        ends = torch.from_numpy(np.stack(found)).to(actions.dtype)
        return rearrange(ends, "l (b s) z -> b s l 1 z", b=b)[:, :s]

    def close(self) -> None:
        """Close the environments."""
        self._env.close()

    def _simulate(self, rooms: list[int], each: int) -> None:
        """Make environments for ``each`` candidates in ``rooms``."""
        if self._rooms:
            self._env.close()
        self._rooms, self._each = rooms, each
        self._env: Any = make_vector_env(self._config, len(rooms) * each)
        self._env.reset(seed=self._room_seeds())
        self._env = self._env.unwrapped

    def _room_seeds(self) -> Any:
        return [self._seeds[room] for room in self._rooms for _ in range(self._each)]


def _state(info: dict[str, Any], keys: Sequence[str]) -> np.ndarray:
    return np.concatenate(
        [np.asarray(info[key], np.float32).reshape(len(info[key]), -1) for key in keys], axis=-1
    )
