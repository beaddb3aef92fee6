"""Settings of an agent that learns in imagination, and of the rounds in which its world model grows."""

from __future__ import annotations

from dataclasses import dataclass

from worldjepa.settings.run import runtime


@dataclass
class AgentConfig:
    """An actor and a critic on latents, trained in the world model alone (DreamerV3, arXiv:2301.04104).

    ``rounds``: how often episodes are collected (first with ``collect.policy``, then with the agent), the
    world model is trained on all there are, and the agent in it; 0 trains no agent. ``collect.num_episodes``,
    ``train.steps`` and ``steps`` (updates of the agent) are those of the whole run, shared out evenly.

    ``horizon``: imagined latent steps; ``batch_size``: recorded latents they begin from. ``discount`` and
    ``trace`` (lambda of the returns) are per latent step. ``entropy``: weight of its bonus, beside returns
    brought to a spread of about 1. ``slow_momentum``: of the critic's EMA copy, which says what follows the
    horizon. ``hidden_dim`` and ``depth`` are of both networks. ``episodes``: how many the agent plays without
    noise after each round to be judged; they are not learnt from.
    """

    rounds: int = 0
    steps: int = 3000
    horizon: int = 12
    batch_size: int = 128
    discount: float = 0.97
    trace: float = 0.95
    entropy: float = 1e-3
    lr: float = 1e-3
    grad_clip: float = 10.0
    slow_momentum: float = 0.98
    hidden_dim: int = 128
    depth: int = 2
    episodes: int = runtime(10)
