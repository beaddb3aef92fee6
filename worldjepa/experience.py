"""What an agent learns from: recorded latents to dream from, and recorded rewards."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from worldjepa.agents.actor_critic import ActorCritic
from worldjepa.config import TrainConfig
from worldjepa.model.world_model import WorldModel
from worldjepa.run_episodes import EpisodeData, windows_in_order
from worldjepa.seeding import derive_seed

WEIGHTS = 103  # what the seed of a fresh agent is for


@torch.no_grad()
def encoded_starts(config: TrainConfig, data: EpisodeData, model: WorldModel) -> Float[Tensor, "n p d"]:
    """Encode all recorded latent steps that a block of actions follows: dreams never begin at an end."""
    frames = model.encoder.frames_per_step
    with windows_in_order(config, data, data.train, num_steps=2, stride=1) as windows:
        return torch.cat([model.encode(batch.frames[:, :frames])[:, 0] for batch in windows])


def rewards_of(data: EpisodeData, episode: int) -> Float32[np.ndarray, " n"]:
    """Return the rewards of an episode, one an environment step."""
    return data.episodes.read(episode, (), 0, int(data.episodes.lengths[episode])).rewards


def fresh_agent(config: TrainConfig, data: EpisodeData, model: WorldModel) -> ActorCritic:
    """Build an agent for the latents and actions of ``model``; it knows how large recorded rewards are."""
    settings = config.agent
    assert model.predictor is not None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(config.seed, 0, WEIGHTS))
        agent = ActorCritic(
            latent_dim=model.predictor.latent_dim,
            num_tokens=model.predictor.grid.p,
            action=data.episodes.spec.action,
            action_block=model.action_block,
            hidden_dim=settings.hidden_dim,
            depth=settings.depth,
            discount=settings.discount,
        )
    rewards = torch.cat([torch.from_numpy(rewards_of(data, i)) for i in data.train])
    agent.fit_scale(rewards * model.action_block)
    return agent
