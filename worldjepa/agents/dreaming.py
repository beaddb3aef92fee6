"""Learning in imagination: an agent acts in a world model, and the gradient of what it earns flows back.

As in DreamerV3 (arXiv:2301.04104): lambda returns from a slow critic, a bonus for entropy, returns divided by
their spread. Unlike there, the gradient of the returns goes through the model: exactly for boxes, by
the straight-through estimate for choices (DreamerV2, arXiv:2010.02193, section 2.2). The world model is as it
was afterwards: its parameters take no gradient while the agent learns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor, nn

from worldjepa.agents.actor_critic import ActorCritic
from worldjepa.planning.world import untrained

if TYPE_CHECKING:
    from worldjepa.model.world_model import WorldModel

RANGE_MOMENTUM = 0.99  # of the spread of returns, 5th to 95th percentile


@dataclass(frozen=True)
class Dream:
    """An imagined future: ``before[:, i]``, then block i is done, then ``after[:, i]``.

    ``rewards`` are scaled; ``continues`` are the chances that the episode goes on after the block;
    ``entropies`` of the choice of each block.
    """

    before: Float[Tensor, "b l p d"]
    after: Float[Tensor, "b l p d"]
    actions: Float[Tensor, "b l a"]
    rewards: Float[Tensor, "b l"]
    continues: Float[Tensor, "b l"]
    entropies: Float[Tensor, "b l"]


def dream(
    model: WorldModel,
    agent: ActorCritic,
    starts: Float[Tensor, "b p d"],
    noise: Float[Tensor, "b l a"],
) -> Dream:
    """Let the agent act in the model from ``starts`` for as many latent steps as there is noise.

    Differentiable in the agent's parameters and in ``starts``.

    Raises:
        ValueError: the model has no reward head, or what ``imagine`` raises.
    """
    if "reward" not in model.heads:
        raise ValueError(
            "an agent learns from rewards, and the model has no reward head; train one with "
            "model.heads=[reward] and objective.weights.reward=1.0"
        )
    entropies: list[Tensor] = []

    def act(latent: Tensor) -> Tensor:
        action, entropy = agent.policy(latent).sample(noise[:, len(entropies)])
        entropies.append(entropy)
        return action

    found = model.imagine(starts.unsqueeze(1), act, horizon=noise.shape[1])
    rewards = found.heads["reward"] / agent.reward_scale.to(found.latents.dtype)
    ends = found.heads.get("termination")
    continues = torch.ones_like(rewards) if ends is None else torch.sigmoid(-ends)
    before = torch.cat([starts.unsqueeze(1), found.latents[:, :-1]], dim=1)
    return Dream(before, found.latents, found.actions, rewards, continues, torch.stack(entropies, dim=1))


def lambda_returns(
    rewards: Float[Tensor, "b l"],
    values: Float[Tensor, "b l"],
    continues: Float[Tensor, "b l"],
    *,
    discount: float,
    trace: float,
) -> Float[Tensor, "b l"]:
    """Return what is to come from before each block on: a mean over bootstraps after 1, 2, ... blocks.

    ``R[i] = rewards[i] + discount * continues[i] * ((1 - trace) * values[i] + trace * R[i + 1])``, and the
    last one bootstraps from ``values`` alone (DreamerV3, equation 7).

    Args:
        rewards: of each block.
        values: of the latent that each block led to.
        continues: chances that the episode goes on after each block.
        discount: share of what is to come that counts, per latent step.
        trace: lambda, the share of longer returns, per latent step.
    """
    found = [values[:, -1]]
    for i in reversed(range(rewards.shape[1])):
        ahead = (1.0 - trace) * values[:, i] + trace * found[-1]
        found.append(rewards[:, i] + discount * continues[:, i] * ahead)
    return torch.stack(found[:0:-1], dim=1)


class Dreamer:
    """Trains an agent in a world model, an update at a time.

    Args:
        model: has an action predictor and a reward head; in eval mode.
        agent: what is trained.
        horizon: imagined latent steps.
        trace: lambda of the returns.
        entropy: weight of its bonus.
        lr: of both networks (Adam).
        grad_clip: largest norm of a network's gradient.
        slow_momentum: of the slow critic.
    """

    def __init__(
        self,
        model: WorldModel,
        agent: ActorCritic,
        *,
        horizon: int = 12,
        trace: float = 0.95,
        entropy: float = 1e-3,
        lr: float = 1e-3,
        grad_clip: float = 10.0,
        slow_momentum: float = 0.98,
    ):
        self.model, self.agent = model, agent
        self.horizon, self.trace, self.entropy = horizon, trace, entropy
        self.grad_clip, self.slow_momentum = grad_clip, slow_momentum
        self.optimizers = {
            net: torch.optim.Adam(net.parameters(), lr=lr) for net in (agent.actor, agent.critic)
        }

    def update(self, starts: Float[Tensor, "b p d"], generator: torch.Generator) -> dict[str, float]:
        """Improve actor and critic on one batch of dreams; return figures of it, in units of real rewards."""
        agent = self.agent
        with untrained(self.model):
            dreamt = dream(self.model, agent, starts, agent.noise(generator, (len(starts), self.horizon)))
            returns, weights = self.returns(dreamt)
            self._measure(returns)
            actor_loss = self.actor_loss(dreamt, returns, weights)
            self._step(agent.actor, actor_loss)
            critic_loss = self.critic_loss(dreamt, returns, weights)
            self._step(agent.critic, critic_loss)
        agent.follow(self.slow_momentum)
        unit = float(agent.reward_scale)
        return {
            "imagined_reward": unit * float(dreamt.rewards.detach().mean()),
            "imagined_return": unit * float(returns.detach().mean()),
            "entropy": float(dreamt.entropies.detach().mean()),
            "actor_loss": float(actor_loss.detach()),
            "critic_loss": float(critic_loss.detach()),
        }

    def returns(self, dreamt: Dream) -> tuple[Float[Tensor, "b l"], Float[Tensor, "b l"]]:
        """Return the lambda returns of a dream, and how likely and how soon each of its steps comes."""
        discount = self.agent.discount
        values = self.agent.values(dreamt.after, slow=True)
        returns = lambda_returns(
            dreamt.rewards, values, dreamt.continues, discount=discount, trace=self.trace
        )
        kept = discount * dreamt.continues.detach()
        weights = torch.cat([torch.ones_like(kept[:, :1]), kept[:, :-1]], dim=1).cumprod(dim=1)
        return returns, weights

    def actor_loss(
        self, dreamt: Dream, returns: Float[Tensor, "b l"], weights: Float[Tensor, "b l"]
    ) -> Float[Tensor, ""]:
        """Return minus what is earned, in units of the spread of returns, and minus the entropy's bonus."""
        unit = self.agent.return_range.clamp_min(1.0).to(returns.dtype)
        return -(weights * (returns / unit + self.entropy * dreamt.entropies)).mean()

    def critic_loss(
        self, dreamt: Dream, returns: Float[Tensor, "b l"], weights: Float[Tensor, "b l"]
    ) -> Float[Tensor, ""]:
        """Return the squared error of the critic in its own unit."""
        error = (self.agent.values(dreamt.before.detach()) - returns.detach()) * (1.0 - self.agent.discount)
        return (weights * error.square()).mean()

    def _measure(self, returns: Float[Tensor, "b l"]) -> None:
        """Follow the spread of the returns; divisors stay at 1 or more, so that little is not blown up."""
        edges = torch.tensor([0.05, 0.95], dtype=returns.dtype, device=returns.device)
        low, high = torch.quantile(returns.detach().flatten(), edges)
        held = self.agent.return_range
        known = bool(held > 0)
        held.copy_(torch.lerp(high - low, held, RANGE_MOMENTUM) if known else high - low)

    def _step(self, net: nn.Sequential, loss: Tensor) -> None:
        optimizer = self.optimizers[net]
        optimizer.zero_grad(set_to_none=True)
        loss.backward(inputs=list(net.parameters()))
        nn.utils.clip_grad_norm_(net.parameters(), self.grad_clip)
        optimizer.step()
