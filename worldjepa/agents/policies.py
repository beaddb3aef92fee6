"""What an actor says of one latent: a distribution over action blocks that is drawn from with a gradient.

Both kinds take their noise as an argument, so that a draw is a function of (network, latent, noise).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

MEAN_LIMIT = 3.0  # before the tanh; beyond it, its gradient is lost (DreamerV1, arXiv:1912.01603, appendix A)
STD_RANGE = (0.1, 1.0)
UNIFORM_SHARE = 0.01  # of the choices' probabilities, so that none is ever given up (DreamerV3)


@dataclass(frozen=True)
class BoxPolicy:
    """A Gaussian pressed into a box by a tanh, in environment units."""

    mean: Float[Tensor, "*b a"]
    std: Float[Tensor, "*b a"]
    low: Float[Tensor, " a"]
    high: Float[Tensor, " a"]

    @classmethod
    def read(
        cls, said: Float[Tensor, "*b twice"], low: Float[Tensor, " a"], high: Float[Tensor, " a"]
    ) -> BoxPolicy:
        """Return what the two halves of a network's output say."""
        mean, spread = said.chunk(2, dim=-1)
        least, most = STD_RANGE
        std = least + (most - least) * torch.sigmoid(spread)
        return cls(MEAN_LIMIT * torch.tanh(mean / MEAN_LIMIT), std, low, high)

    def mode(self) -> Float[Tensor, "*b a"]:
        """Return the action blocks without noise."""
        return self._fit(torch.tanh(self.mean))

    def sample(self, noise: Float[Tensor, "*b a"]) -> tuple[Float[Tensor, "*b a"], Float[Tensor, "*b"]]:
        """Return action blocks drawn with standard normal ``noise``, and what each says of the entropy.

        That is minus the logarithm of its density in the box from -1 to 1: the entropy on average.
        """
        x = self.mean + self.std * noise
        gaussian = -0.5 * noise.square() - self.std.log() - 0.5 * math.log(2 * math.pi)
        squeezed = 2.0 * (math.log(2.0) - x - F.softplus(-2.0 * x))  # log(1 - tanh(x)^2), stably
        return self._fit(torch.tanh(x)), -(gaussian - squeezed).sum(dim=-1)

    def _fit(self, values: Tensor) -> Tensor:
        return self.low + (self.high - self.low) * (values + 1.0) / 2.0


@dataclass(frozen=True)
class ChoicePolicy:
    """One-hots of one choice or several, joined; the gradient passes straight through to the shares."""

    logits: Float[Tensor, "*b a"]
    sizes: tuple[int, ...]

    def mode(self) -> Float[Tensor, "*b a"]:
        """Return the likeliest options."""
        return torch.cat([_hot(part) for part in self.logits.split(self.sizes, dim=-1)], dim=-1)

    def sample(self, noise: Float[Tensor, "*b a"]) -> tuple[Float[Tensor, "*b a"], Float[Tensor, "*b"]]:
        """Return options drawn with Gumbel ``noise`` (the largest of logit + noise), and their entropy."""
        hots, entropy = [], torch.zeros(())
        parts = zip(self.logits.split(self.sizes, -1), noise.split(self.sizes, -1), strict=True)
        for logits, gumbel in parts:
            uniform = UNIFORM_SHARE / logits.shape[-1]
            shares = (1.0 - UNIFORM_SHARE) * logits.softmax(dim=-1) + uniform
            hots.append(_hot(shares.log() + gumbel) + shares - shares.detach())
            entropy = entropy - (shares * shares.log()).sum(dim=-1)
        return torch.cat(hots, dim=-1), entropy


Policy = BoxPolicy | ChoicePolicy


def _hot(scores: Float[Tensor, "*b options"]) -> Float[Tensor, "*b options"]:
    return F.one_hot(scores.detach().argmax(dim=-1), scores.shape[-1]).to(scores.dtype)
