"""Whether the settings of an agent, and of the rounds it learns in, make sense. No torch."""

from __future__ import annotations

from worldjepa.config import TrainConfig
from worldjepa.settings.ranges import at_least, positive, require, share
from worldjepa.settings.schema import ConfigError


def check_agent(config: TrainConfig) -> None:
    """Raise ``ConfigError`` for a setting of ``agent`` out of range, or a run that no agent can learn in."""
    agent = config.agent
    at_least("agent.rounds", agent.rounds, 0)
    for name in ("steps", "horizon", "batch_size", "hidden_dim", "depth", "episodes"):
        at_least(f"agent.{name}", getattr(agent, name), 1)
    require(0 <= agent.discount < 1, "agent.discount", agent.discount, "a share from 0 to below 1")
    share("agent.trace", agent.trace)
    share("agent.slow_momentum", agent.slow_momentum)
    at_least("agent.entropy", agent.entropy, 0)
    positive("agent.lr", agent.lr)
    positive("agent.grad_clip", agent.grad_clip)
    if agent.rounds:
        _check_rounds(config)


def _check_rounds(config: TrainConfig) -> None:
    rounds, model = config.agent.rounds, config.model
    asked = f"agent.rounds={rounds}"
    if config.objective.kind != "dynamics" or config.data.root is not None or config.env.id is None:
        raise ConfigError(
            f"{asked}: an agent collects its own episodes and learns in the world model of them; set "
            "env.id=ID and objective=sigreg (or ema), and leave data.root out"
        )
    if "reward" not in model.heads or not config.objective.weights.get("reward"):
        raise ConfigError(
            f"{asked}: the agent learns from rewards that the model says; set model.heads=[reward] (and "
            "termination, where episodes end before their time) and objective.weights.reward=1.0"
        )
    if model.encoder.attention != "step":
        raise ConfigError(
            f"{asked}: an agent acts on one latent step; set model.encoder.attention=step, and "
            "model.encoder.frames_per_step=2 for it to show velocities"
        )
    if config.optim.schedule not in (None, "wsd"):
        raise ConfigError(
            f"{asked}: the model is trained again in every round; set optim.schedule=wsd, which stays up for "
            "most of each and falls at its end (over the share optim.cooldown)"
        )
    at_least("collect.num_episodes", config.collect.num_episodes, rounds)
    at_least("agent.steps", config.agent.steps, rounds)
    at_least("train.steps", config.train.steps, rounds)
