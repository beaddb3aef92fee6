"""AdaLN: a condition scales, shifts and gates both branches of a block (DiT, arXiv:2212.09748, section 3.2).

Where DiT starts the map from the condition at zero, ours starts small: a fresh model already answers to its
condition, if faintly, so that what holds for the trained one can be tested on it.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from worldjepa.model.layers.linear import Linear

INIT_STD = 0.02


class Branch(NamedTuple):
    """Shift and scale of a branch's input and gate of its output, ``[b t 1 d]``; None leaves it plain."""

    shift: Tensor | None = None
    scale: Tensor | None = None
    gate: Tensor | None = None

    def before(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """Scale and shift what goes into the branch; the tokens of a latent step share their condition."""
        if self.scale is None or self.shift is None:
            return x
        return torch.addcmul(self.shift, _by_step(x, self.scale), self.scale + 1).flatten(1, 2)

    def after(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """Gate what comes out of it."""
        return x if self.gate is None else (_by_step(x, self.gate) * self.gate).flatten(1, 2)


class Modulation(NamedTuple):
    """The modulation of a block's attention and MLP."""

    attn: Branch
    mlp: Branch


PLAIN = Modulation(Branch(), Branch())


class AdaLN(nn.Module):
    """A condition to the modulation of one block."""

    def __init__(self, dim: int):
        super().__init__()
        self.linear = Linear(dim, 6 * dim)

    def init_small(self) -> None:
        """Draw the weights with a small standard deviation; no bias."""
        nn.init.normal_(self.linear.weight, std=INIT_STD)
        nn.init.zeros_(self.linear.bias)

    def forward(self, condition: Float[Tensor, "b t d"]) -> Modulation:
        """Return the modulation of the tokens of each latent step."""
        parts = self.linear(condition).unsqueeze(2).chunk(6, dim=-1)
        return Modulation(Branch(*parts[:3]), Branch(*parts[3:]))


def _by_step(x: Tensor, condition: Tensor) -> Float[Tensor, "b t p d"]:
    return x.unflatten(1, (condition.shape[1], -1))
