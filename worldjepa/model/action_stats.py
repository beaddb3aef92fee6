"""Mean and spread of the actions that a model was trained with: environment units to the model's."""

from __future__ import annotations

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

CONSTANT = 1e-6  # a dimension with a smaller standard deviation is only shifted


class ActionStats(nn.Module):
    """Scale action blocks by the statistics of one environment step's action, ``dim`` wide.

    Fresh ones change nothing, which is what discrete actions (one-hots) keep.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, dim: int):
        super().__init__()
        self.dim = dim
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("std", torch.ones(dim))

    def set(self, mean: Float[Tensor, " dim"], std: Float[Tensor, " dim"]) -> None:
        """Take over statistics; a dimension that never varies gets the spread 1.

        Raises:
            ValueError: other widths, or numbers that are not finite or negative.
        """
        if mean.shape != self.mean.shape or std.shape != self.std.shape:
            raise ValueError(
                f"action statistics are {tuple(mean.shape)} and {tuple(std.shape)} wide; an environment "
                f"step's action has {self.dim} numbers"
            )
        if not (mean.isfinite().all() and std.isfinite().all() and (std >= 0).all()):
            raise ValueError(
                f"action statistics must be finite, std at least 0; got {mean.tolist()}, {std.tolist()}"
            )
        self.mean.copy_(mean)
        self.std.copy_(torch.where(std < CONSTANT, 1.0, std))

    def scale(self, actions: Shaped[Tensor, "*b a"]) -> Float[Tensor, "*b a"]:
        """Return blocks of environment actions (step-major, of any dtype) as the model reads them.

        Raises:
            ValueError: the last axis does not hold whole actions.
        """
        if actions.shape[-1] % self.dim:
            raise ValueError(
                f"actions are {actions.shape[-1]} wide; blocks of actions of {self.dim} numbers need a "
                f"multiple of {self.dim}"
            )
        if not actions.is_floating_point():
            actions = actions.to(self.mean.dtype)
        steps = actions.unflatten(-1, (-1, self.dim))
        mean, std = self.mean.to(actions.dtype), self.std.to(actions.dtype)
        return ((steps - mean) / std).flatten(-2)
