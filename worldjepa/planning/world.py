"""What costs and controllers ask of a world model: the one protocol that all of them meet.

Ours with an action predictor, IRIS, and the environment itself as a perfect model (``evaluation/oracle.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn


@runtime_checkable
class Clocked(Protocol):
    """How frames become latent steps. ``attention`` is ``step`` where each latent step is encoded alone."""

    @property
    def frames_per_step(self) -> int:
        """Frames of a latent step."""
        ...

    @property
    def attention(self) -> str:
        """How a latent step depends on earlier ones."""
        ...


@runtime_checkable
class Acting(Protocol):
    """Widths of what goes in beside latents: an action block, and proprioception (0: none)."""

    @property
    def action_dim(self) -> int:
        """Width of an action block."""
        ...

    @property
    def proprioception_dim(self) -> int:
        """Width of the measured state."""
        ...


@runtime_checkable
class Heads(Protocol):
    """Modules over latents by name, of which there may be none."""

    def __contains__(self, key: str, /) -> bool: ...

    def __iter__(self) -> Iterator[str]: ...

    def __getitem__(self, key: str, /) -> Callable[[Tensor], Tensor]: ...


@runtime_checkable
class World(Protocol):
    """Encodes observations and predicts what follows from actions; shapes and errors as in ``WorldModel``.

    A state is what ``start`` makes of a context: nobody else looks into it.
    """

    @property
    def encoder(self) -> Clocked:
        """Its clock."""
        ...

    @property
    def predictor(self) -> Acting | None:
        """Its widths; None if it was trained without actions."""
        ...

    @property
    def heads(self) -> Heads:
        """What can be read of latents, by name."""
        ...

    @property
    def action_block(self) -> int:
        """Environment steps of a latent step."""
        ...

    @property
    def image_size(self) -> int:
        """Side in pixels of the frames that it reads."""
        ...

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        ...

    @property
    def training(self) -> bool:
        """Whether it is in training mode."""
        ...

    def encode(self, frames: Tensor) -> Tensor:
        """Return the latents ``[b t p d]`` of frames ``[b f c y x]``."""
        ...

    def rollout(
        self,
        latents: Tensor,
        actions: Tensor,
        *,
        past_actions: Tensor | None = None,
        lengths: Tensor | None = None,
        proprioception: Tensor | None = None,
    ) -> Tensor:
        """Return what follows a context under actions ``[b l a]`` or ``[b s l a]``."""
        ...

    def start(
        self,
        latents: Tensor,
        *,
        past_actions: Tensor | None = None,
        lengths: Tensor | None = None,
        proprioception: Tensor | None = None,
    ) -> Any:
        """Return the state that a context leads to."""
        ...

    def step(self, state: Any, action: Tensor) -> tuple[Any, Tensor]:
        """Return the state after an action block ``[b a]``, and its latent ``[b p d]``."""
        ...

    def futures(self, state: Any, actions: Tensor) -> Tensor:
        """Return what ``rollout`` does, from a state: a context is read once for many calls."""
        ...


@contextmanager
def untrained(model: object) -> Iterator[None]:
    """Let no parameter of ``model`` take a gradient inside; afterwards they are as before."""
    parameters = model.parameters() if isinstance(model, nn.Module) else ()
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
