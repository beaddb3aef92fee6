"""The vector environment whose every row is a dream of the world model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from jaxtyping import Bool, Float
from torch import Tensor

from worldjepa.imagination.agent_spaces import ActionBlocks, LatentVectors
from worldjepa.imagination.ensemble import check_members, disagreement
from worldjepa.imagination.starts import Starts
from worldjepa.model.rollout import State
from worldjepa.model.world_model import WorldModel


class ImaginedVectorEnv(VectorEnv):
    """``num_envs`` episodes that a world model imagines side by side.

    A step is a latent step: the action is an action block (``ActionBlocks``), the observation the latent
    predicted under it, the reward what the model's reward head reads from that (the block's sum). An episode
    is terminated where the termination head, if there is one, says so with a probability above 1/2 (not
    drawn: the same actions give the same episode), and truncated after ``horizon`` steps. Episodes begin at
    ``starts``; each row draws from a random stream of its own, so that no row depends on another. Nothing is
    differentiable: see ``WorldModel.imagine`` for that.

    Disagreement is the standard deviation of the next latents that the model and the members of the ensemble
    predict from the same place, averaged over the latent; ``info["disagreement"]`` holds that of every row's
    step. Taking it off the reward keeps agents where the model was trained (a penalty on the model's
    uncertainty, as in MOPO, arXiv:2005.13239).

    Args:
        model: with an action predictor and a reward head, in eval mode.
        starts: where episodes begin, see ``Starts.recorded``.
        num_envs: rows.
        horizon: latent steps after which an episode is truncated.
        ensemble: other world models over the same latents. Each keeps a past of its own, and sees the
            model's prediction in place of its own.
        penalty: how many times the disagreement is taken off the reward.
        pooled: observe the mean over the tokens of a latent, not all of them.
        autoreset_mode: ``SameStep`` or ``NextStep``, as in Gymnasium.

    Raises:
        ValueError: settings out of range, a model without reward head, a member that does not fit.
    """

    def __init__(
        self,
        model: WorldModel,
        starts: Starts,
        *,
        num_envs: int = 1,
        horizon: int = 15,
        ensemble: Sequence[WorldModel] = (),
        penalty: float = 0.0,
        pooled: bool = False,
        autoreset_mode: AutoresetMode | str = AutoresetMode.SAME_STEP,
    ):
        mode = AutoresetMode(autoreset_mode)
        _check_model(model, starts)
        _check_settings(num_envs, horizon, penalty, len(ensemble), mode)
        check_members(model, ensemble)
        assert model.predictor is not None
        self.model, self.starts, self.horizon, self.penalty = model, starts, horizon, penalty
        self.num_envs, self.metadata = num_envs, {"autoreset_mode": mode}
        self.blocks = ActionBlocks(starts.action, model.action_block)
        self.latents = LatentVectors(model.predictor.grid.p, model.predictor.latent_dim, pooled)
        self.single_observation_space, self.single_action_space = self.latents.space, self.blocks.space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._models = (model, *ensemble)
        self._states: list[State] = []
        self._rngs = [seeding.np_random()[0] for _ in range(num_envs)]
        self._elapsed = np.zeros(num_envs, np.int64)
        self._ended = np.zeros(num_envs, bool)  # by the last step, and not begun anew yet

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin all episodes; row i draws with the seed ``seed + i``, or the ith of a list.

        Raises:
            ValueError: a list of another length than ``num_envs``.
        """
        seeds = [seed + row for row in range(self.num_envs)] if isinstance(seed, int) else seed
        if seeds is not None and len(seeds) != self.num_envs:
            raise ValueError(f"expected one seed for each of {self.num_envs} environments, got {len(seeds)}")
        for row, one in enumerate(seeds or ()):
            if one is not None:
                self._rngs[row] = seeding.np_random(one)[0]
        self._begin(np.ones(self.num_envs, bool))
        return self._observations(), {}

    @torch.no_grad()
    def step(
        self, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Imagine what an action block in every row leads to, and begin anew where the mode asks for it.

        Raises:
            ValueError: actions that are not of the action space (values beyond a Box are clipped).
        """
        if not self._states:
            raise gymnasium.error.ResetNeeded("call reset() before step()")
        fresh = self._ended
        latents, apart = self._predict(torch.from_numpy(self.blocks.to_model(actions)))
        rewards = self._read("reward", latents).astype(np.float64)
        infos: dict[str, Any] = {}
        if apart is not None:
            rewards -= self.penalty * apart
            infos = {"disagreement": np.where(fresh, 0, apart), "_disagreement": ~fresh}
        self._elapsed += 1
        rewards[fresh] = 0.0
        terminated = ~fresh & (self._read("termination", latents) > 0 if self._ends else False)
        truncated = ~fresh & (self._elapsed >= self.horizon)
        ended = terminated | truncated
        self._ended = ended.copy()
        if self.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP:
            self._begin(fresh)
        elif ended.any():
            infos |= _finals(self._observations(), ended, infos)
            self._begin(ended)
        return self._observations(), rewards, terminated, truncated, infos

    @property
    def _ends(self) -> bool:
        return "termination" in self.model.heads

    def _predict(
        self, actions: Float[Tensor, "n a"]
    ) -> tuple[Float[Tensor, "n p d"], Float[np.ndarray, " n"] | None]:
        """Advance every member; return the model's latents and, of an ensemble, how far apart they are."""
        actions = actions.to(self.model.device, self._states[0].pending.dtype)
        steps = [model.step(state, actions) for model, state in zip(self._models, self._states, strict=True)]
        found = [latents for _, latents in steps]
        self._states = [
            model.observe(state, found[0]) for model, (state, _) in zip(self._models, steps, strict=True)
        ]
        return found[0], disagreement(found).double().cpu().numpy() if len(found) > 1 else None

    def _read(self, head: str, latents: Float[Tensor, "n p d"]) -> np.ndarray:
        return self.model.heads[head](latents.unsqueeze(1))[:, 0].float().cpu().numpy()

    def _observations(self) -> np.ndarray:
        return self.latents.read(self._states[0].pending)

    @torch.no_grad()
    def _begin(self, rows: Bool[np.ndarray, " n"]) -> None:
        """Begin the episodes of ``rows`` at starts that each draws for itself."""
        numbers = np.flatnonzero(rows)
        if not len(numbers):
            return
        drawn = torch.tensor([int(self._rngs[row].integers(len(self.starts))) for row in numbers])
        if len(numbers) < self.num_envs:
            at = torch.from_numpy(numbers).to(self.model.device)
            pairs = zip(self._models, self._states, strict=True)
            fresh = [self.starts.restart(model, state, at, drawn) for model, state in pairs]
        else:
            fresh = [self.starts.begin(model, drawn) for model in self._models]
        self._states = fresh
        self._elapsed[rows], self._ended[rows] = 0, False


def _finals(observations: np.ndarray, ended: Bool[np.ndarray, " n"], infos: dict[str, Any]) -> dict[str, Any]:
    """Return what the ended episodes ended with, as Gymnasium puts it into the infos."""
    last = np.full(len(ended), None, dtype=object)
    for row in np.flatnonzero(ended):
        last[row] = observations[row]
    facts = {name: np.where(ended, values, 0).astype(values.dtype) for name, values in infos.items()}
    return {"final_obs": last, "_final_obs": ended, "final_info": facts, "_final_info": ended.copy()}


def _check_model(model: WorldModel, starts: Starts) -> None:
    if model.predictor is None or "reward" not in model.heads:
        lacks = "action predictor" if model.predictor is None else "reward head"
        raise ValueError(
            f"the model has no {lacks}, which gives an agent nothing to learn from; train one from episodes "
            "with model.heads=[reward] objective.weights.reward=1, where episodes terminate also with "
            "model.heads=[reward,termination] objective.weights.termination=1"
        )
    if model.training:
        raise ValueError("the model is in training mode; call model.eval() before imagining with it")
    if starts.action.dim * model.action_block != model.predictor.action_dim:
        raise ValueError(
            f"the starts have actions of {starts.action.dim} numbers, blocks of {model.action_block} have "
            f"{starts.action.dim * model.action_block}; the model reads {model.predictor.action_dim}"
        )


def _check_settings(num_envs: int, horizon: int, penalty: float, members: int, mode: AutoresetMode) -> None:
    if num_envs < 1 or horizon < 1 or penalty < 0:
        raise ValueError(
            "expected num_envs and horizon of 1 or more and a penalty of 0 or more, got "
            f"num_envs={num_envs}, horizon={horizon}, penalty={penalty}"
        )
    if penalty and not members:
        raise ValueError(f"penalty={penalty} is on the disagreement of an ensemble; pass ensemble=[...] too")
    if mode is AutoresetMode.DISABLED:
        raise ValueError("autoreset_mode must be SameStep or NextStep, got Disabled")
