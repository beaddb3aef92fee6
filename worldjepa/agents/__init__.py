"""Agents that learn in a world model."""

from worldjepa.agents.acting import AgentController
from worldjepa.agents.actor_critic import ActorCritic, load_agent, save_agent
from worldjepa.agents.dreaming import Dreamer, lambda_returns

__all__ = ["ActorCritic", "AgentController", "Dreamer", "lambda_returns", "load_agent", "save_agent"]
