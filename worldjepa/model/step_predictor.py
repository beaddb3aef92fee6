"""What a rollout asks of a transformer that predicts latent steps, whatever goes on inside it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from jaxtyping import Float, Int
from torch import Tensor, nn

from worldjepa.model.layers.cache import KeyValues, Past
from worldjepa.model.layers.rope import Rotary
from worldjepa.types import Grid


class StepPredictor(nn.Module, ABC):
    """Predicts latent i+1 from latents up to i and the actions that leave them.

    ``latent_dim``, ``action_dim`` (of a block) and ``proprioception_dim`` (0: none) are widths, ``grid`` the
    tokens of a latent step; ``window``: how many latent steps a step sees in each of ``blocks`` (None: all);
    ``kinematics``: how proprioception follows from actions (None: not known).
    """

    latent_dim: int
    action_dim: int
    proprioception_dim: int
    grid: Grid
    window: int | None
    kinematics: str | None = None
    blocks: nn.ModuleList

    @property
    @abstractmethod
    def step_tokens(self) -> int:
        """Tokens of a latent step on their way through the transformer."""

    @abstractmethod
    def context(
        self,
        latents: Float[Tensor, "b t p d"],
        actions: Float[Tensor, "b t a"] | None = None,
        *,
        steps: Int[Tensor, "b t"] | None = None,
        proprioception: Float[Tensor, "b t q"] | None = None,
    ) -> list[KeyValues]:
        """Return each layer's keys and values of latent steps whose actions are known (None: null actions).

        ``steps`` numbers the latent steps of each row, ``PADDING`` for those that are not there.
        """

    @abstractmethod
    def next(
        self,
        latents: Float[Tensor, "r p d"],
        actions: Float[Tensor, "r a"],
        table: Rotary,
        pasts: Sequence[Past],
        proprioception: Float[Tensor, "r q"] | None = None,
    ) -> tuple[Float[Tensor, "r p d"], list[KeyValues]]:
        """Predict the latent after one latent step from what each layer kept of the past.

        Returns:
            The prediction, without the latent norm, and each layer's ``own`` cache with this step in it.
        """

    @abstractmethod
    def rotary(self, steps: Int[Tensor, "*b t"]) -> Rotary:
        """Return the rotation of every token of latent steps at absolute positions ``steps``."""
