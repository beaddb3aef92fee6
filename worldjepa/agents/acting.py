"""An agent in real environments: observations to latents, latents to action blocks, handed out one by one.

What it remembers of each environment is what ``MPCController`` does (``planning/history.py``), and it is
driven likewise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
import torch

from worldjepa.agents.actor_critic import ActorCritic

if TYPE_CHECKING:
    from worldjepa.model.world_model import WorldModel
from worldjepa.planning.control_space import ControlSpace
from worldjepa.planning.history import Clock, Track, gather, truths
from worldjepa.planning.observing import Observer
from worldjepa.seeding import derive_seed


class AgentController:
    """Act in one environment or many.

    Args:
        model: the world model whose latents the agent was trained on, in eval mode.
        agent: an actor and critic.
        action_space: of one environment or of a vector environment.
        pixels: key of the picture in a Dict observation.
        explore: draw from the actor's distribution in place of its mode.
        seed: of these draws; each environment has a stream of its own.

    Raises:
        ValueError: a space, model and agent that do not fit together.
    """

    def __init__(
        self,
        model: WorldModel,
        agent: ActorCritic,
        *,
        action_space: gymnasium.Space,
        pixels: str | None = None,
        explore: bool = False,
        seed: int = 0,
    ):
        block = model.action_block
        tokens = agent.num_tokens if model.predictor is None else model.predictor.grid.p
        read = (agent.num_tokens, agent.latent_dim, agent.action_block)
        if read != (tokens, model.encoder.latent_dim, block):
            raise ValueError(
                f"the agent was trained on latents of {read[0]} x {read[1]} numbers with blocks of {read[2]} "
                f"actions, the model has {tokens} x {model.encoder.latent_dim} and {block}; load both from "
                "one run"
            )
        self.model, self.agent, self.explore, self.seed = model, agent, explore, seed
        self.space = ControlSpace.of(action_space, width=agent.action.dim, action_block=block)
        if (self.space.spec.kind, self.space.spec.sizes) != (agent.action.kind, agent.action.sizes):
            raise ValueError(
                f"the agent was trained with {agent.action.kind} actions and the action space is "
                f"{action_space}; pass that of the environment it was trained for, single or batched"
            )
        self._clock = Clock.of(model, 1)
        self._observer = Observer(pixels)
        self.reset()

    def reset(self, mask: Any = None) -> None:
        """Forget the past of all environments, or of those in ``mask [b]`` whose episodes have ended.

        When to call it: see ``MPCController.reset``. Without a mask the number of environments may change,
        and the random streams begin anew.
        """
        if mask is None:
            self._tracks: list[Track] = []
        elif self._tracks:
            for row in np.flatnonzero(truths("mask", mask, len(self._tracks))).tolist():
                self._tracks[row] = Track(self._clock)

    @torch.no_grad()
    def act(self, observation: Any) -> Any:
        """Return what ``env.step`` takes next.

        Args:
            observation: of one environment or of all: uint8 ``[y x 3]``, ``[b y x 3]``, or a Dict.

        Raises:
            ValueError: observations that cannot be read, or of another number of environments than before, or
                a model in training mode.
        """
        if self.model.training:
            raise ValueError("the model is in training mode; call model.eval() before acting with it")
        observed = self._observer.read(observation)
        if not self._tracks:
            self._begin(len(observed.frames))
        if len(observed.frames) != len(self._tracks):
            raise ValueError(
                f"got observations of {len(observed.frames)} environments, before of {len(self._tracks)}; "
                "call reset() when their number changes"
            )
        for track, frame in zip(self._tracks, observed.frames, strict=True):
            track.see(frame.copy(), None)  # vector environments may write the next one into the same memory
        due = [row for row, track in enumerate(self._tracks) if not track.queue]
        if due:
            self._choose(due)
        return self.space.to_env(np.stack([track.take() for track in self._tracks]), single=observed.single)

    def _begin(self, batch: int) -> None:
        self._tracks = [Track(self._clock) for _ in range(batch)]
        self._generators = [
            torch.Generator().manual_seed(derive_seed(self.seed, row)) for row in range(batch)
        ]

    def _choose(self, rows: list[int]) -> None:
        """Queue an action block for each of ``rows``."""
        latents = gather(self.model, [self._tracks[row] for row in rows], 1).latents[:, -1]
        policy = self.agent.policy(latents)
        if self.explore:
            noise = torch.stack([self.agent.noise(self._generators[row]) for row in rows])
            blocks, _ = policy.sample(noise)
        else:
            blocks = policy.mode()
        spec = self.space.spec
        actions = blocks.float().cpu().numpy().reshape(len(rows), -1, spec.dim)
        done = spec.carried_out(actions)
        for row, queued in zip(rows, done, strict=True):
            self._tracks[row].queue.extend(queued)
