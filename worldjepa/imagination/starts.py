"""Where imagined episodes begin: latents of recorded moments, with what led to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from worldjepa.data.episodes.action_spec import ActionSpec
from worldjepa.data.episodes.episode import Episodes
from worldjepa.data.episodes.windows import WindowSampling, window_loader
from worldjepa.model.rollout import State
from worldjepa.model.world_model import WorldModel

ENCODED_AT_ONCE = 64


@dataclass(frozen=True, eq=False)
class Starts:
    """``n`` contexts of ``t`` latent steps, the ``t - 1`` action blocks between these, and the action space.

    ``past_actions`` and ``proprioception`` are what ``WorldModel.start`` takes; ``action`` is the spec of one
    environment step's action.
    """

    latents: Float[Tensor, "n t p d"]
    action: ActionSpec
    past_actions: Float[Tensor, "n _ a"] | None = None
    proprioception: Float[Tensor, "n t q"] | None = None

    def __post_init__(self):
        n, t = self.latents.shape[:2]
        if not n:
            raise ValueError("there are no starts; expected one context at least")
        past = self.past_actions
        if past is not None and past.shape[:2] != (n, t - 1):
            raise ValueError(
                f"{n} contexts of {t} latents have past_actions [{n} {t - 1} a], got {tuple(past.shape)}"
            )

    def __len__(self) -> int:
        return len(self.latents)

    @classmethod
    def recorded(
        cls,
        model: WorldModel,
        episodes: Episodes,
        *,
        count: int = 1024,
        history: int = 1,
        ids: Sequence[int] | None = None,
        seed: int = 0,
    ) -> Starts:
        """Encode moments of recorded episodes, drawn at random, each with what came before it.

        No moment is drawn after which less than an action block was recorded, so none at which an episode
        had ended.

        Args:
            model: in eval mode, with an action predictor.
            episodes: those it was trained on, for example ``open_episodes(RUN / "episodes")``.
            count: how many moments.
            history: latent steps of each context.
            ids: of which episodes (left out: of all).
            seed: of the draw.

        Raises:
            ValueError: numbers below 1, episodes with other actions than the model's, or all too short.
        """
        if count < 1 or history < 1:
            raise ValueError(f"expected count and history of 1 or more, got count={count}, history={history}")
        _check(model, episodes)
        per_step = model.encoder.frames_per_step
        loader = window_loader(
            episodes,
            np.flatnonzero(episodes.lengths).tolist() if ids is None else ids,
            sampling=WindowSampling((history + 1) * per_step, per_step, model.action_block),
            size=model.image_size,
            batch_size=min(count, ENCODED_AT_ONCE),
            seed=seed,
            last_step=-(-count // ENCODED_AT_ONCE),
        )
        latents, past, measured = [], [], []
        with loader, torch.no_grad():
            for batch in loader:
                latents.append(model.encode(batch.frames[:, : history * per_step]))
                assert batch.actions is not None
                past.append(batch.actions[:, : history - 1])
                if batch.proprioception is not None:
                    measured.append(batch.proprioception[:, :history])
        join = lambda parts: torch.cat(parts)[:count].to(model.device)  # noqa: E731
        reads = model.predictor is not None and model.predictor.proprioception_dim
        return cls(
            join(latents),
            episodes.spec.action,
            join(past) if history > 1 else None,
            join(measured) if reads else None,
        )

    def begin(self, model: WorldModel, numbers: Int[Tensor, " n"]) -> State:
        """Let ``model`` read the contexts of these numbers."""
        latents, past, measured = self._of(numbers, model.device)
        return model.start(latents, past_actions=past, proprioception=measured)

    def restart(
        self, model: WorldModel, state: State, rows: Int[Tensor, " r"], numbers: Int[Tensor, " r"]
    ) -> State:
        """Let rows of a batch begin anew at the contexts of these numbers."""
        latents, past, measured = self._of(numbers, model.device)
        return model.restart(state, rows, latents, past_actions=past, proprioception=measured)

    def _of(
        self, numbers: Int[Tensor, " r"], device: torch.device
    ) -> tuple[Float[Tensor, "r t p d"], Float[Tensor, "r _ a"] | None, Float[Tensor, "r t q"] | None]:
        def pick(part: Tensor) -> Tensor:
            return part[numbers.to(part.device)].to(device)

        past = None if self.past_actions is None else pick(self.past_actions)
        return pick(self.latents), past, None if self.proprioception is None else pick(self.proprioception)


def _check(model: WorldModel, episodes: Episodes) -> None:
    if model.predictor is None:
        raise ValueError("the model was trained without actions and imagines nothing; train it from episodes")
    if model.training:
        raise ValueError("the model is in training mode; call model.eval() before encoding with it")
    wanted, dim = model.predictor.action_dim, episodes.spec.action.dim
    if dim * model.action_block != wanted:
        raise ValueError(
            f"{episodes.root} has actions of {dim} numbers, in blocks of {model.action_block} steps "
            f"{dim * model.action_block}; the model reads {wanted}: pass the episodes it was trained on"
        )
    has, reads = episodes.spec.proprioception_dim, model.predictor.proprioception_dim
    if reads and has != reads:
        raise ValueError(f"{episodes.root} has proprioception of {has} numbers; the model reads {reads}")
