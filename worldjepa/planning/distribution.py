"""Action distributions that planners sample from and refit: a clipped Gaussian, and choices.

Also the warm start: ``shift`` moves a distribution on in time, ``widen`` lets it explore again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from worldjepa.planning.noise import Streams, coloured
from worldjepa.types import ActionDist, read_bounds


class Proposal(ABC):
    """A family of action distributions: how to draw from one and how to fit one to weighted candidates."""

    @abstractmethod
    def centre(self, dist: ActionDist) -> Float[Tensor, "b l a"]:
        """Return the most likely plan of each row."""

    @abstractmethod
    def sample(self, dist: ActionDist, count: int, streams: Streams) -> Float[Tensor, "b s l a"]:
        """Draw ``count`` candidates a row."""

    @abstractmethod
    def refit(
        self, dist: ActionDist, candidates: Float[Tensor, "b s l a"], weights: Float[Tensor, "b s"]
    ) -> ActionDist:
        """Return the distribution of weighted candidates; rows whose weights are all 0 stay as they are."""


@dataclass(frozen=True)
class BoxProposal(Proposal):
    """A Gaussian of independent actions, clipped to a box.

    ``min_std [a]`` is the floor of its standard deviation; ``momentum`` the share of the old mean and std
    that a refit keeps; ``exponent`` and ``action_block`` colour the noise (``coloured``).
    """

    low: Float[Tensor, " a"]
    high: Float[Tensor, " a"]
    min_std: Float[Tensor, " a"]
    momentum: float = 0.0
    exponent: float = 0.0
    action_block: int = 1

    @classmethod
    def of(
        cls,
        init: ActionDist,
        bounds: tuple[Any, Any],
        *,
        min_std: float,
        momentum: float = 0.0,
        exponent: float = 0.0,
        action_block: int = 1,
    ) -> BoxProposal:
        """Check the bounds against ``init``; ``min_std`` is a share of the box's width.

        Raises:
            ValueError: bounds that are not finite, or that do not fit ``init``; an ``init`` without mean and
                std.
        """
        mean, std = gaussian(init)
        if not bool((mean.isfinite() & std.isfinite() & (std >= 0)).all()):
            raise ValueError("init holds a mean or std that is not finite, or a negative std")
        low, high = read_bounds(bounds, mean)
        if mean.shape[-1] != len(low) or len(low) % action_block:
            raise ValueError(
                f"init has action blocks of width {mean.shape[-1]}, the bounds of {len(low)}, and a block "
                f"has action_block={action_block} actions: expected two equal widths and a multiple of "
                "action_block"
            )
        if not min_std >= 0 or not 0 <= momentum < 1:
            raise ValueError(f"expected min_std >= 0 and momentum in [0, 1), got {min_std} and {momentum}")
        return cls(low, high, min_std * (high - low), momentum, exponent, action_block)

    def centre(self, dist: ActionDist) -> Float[Tensor, "b l a"]:
        """Return the mean, clipped."""
        return gaussian(dist)[0].clamp(self.low, self.high)

    def sample(self, dist: ActionDist, count: int, streams: Streams) -> Float[Tensor, "b s l a"]:
        """Draw candidates and clip them to the box."""
        mean, std = gaussian(dist)
        noise = coloured(streams.normal(count, *mean.shape[1:]), self.exponent, self.action_block)
        spread = std.maximum(self.min_std).unsqueeze(1)
        return (mean.unsqueeze(1) + spread * noise).clamp(self.low, self.high)

    def refit(
        self, dist: ActionDist, candidates: Float[Tensor, "b s l a"], weights: Float[Tensor, "b s"]
    ) -> ActionDist:
        """Return weighted mean and standard deviation."""
        old_mean, old_std = gaussian(dist)
        shares = weights.to(candidates)[..., None, None]
        mean = (shares * candidates).sum(dim=1)
        std = (shares * (candidates - mean.unsqueeze(1)).square()).sum(dim=1).sqrt()
        mean = self.momentum * old_mean + (1 - self.momentum) * mean
        std = (self.momentum * old_std + (1 - self.momentum) * std).maximum(self.min_std)
        known = (weights.sum(dim=1) > 0)[:, None, None]
        return ActionDist(mean=torch.where(known, mean, old_mean), std=torch.where(known, std, old_std))


@dataclass(frozen=True)
class ChoiceProposal(Proposal):
    """Independent choices, each a one-hot among ``sizes[i]`` options; an action block is all of them, joined.

    ``min_share``: the part of each probability that is the same for all options, so that none dies out.
    """

    sizes: tuple[int, ...]
    min_share: float
    momentum: float = 0.0

    @classmethod
    def of(
        cls, init: ActionDist, sizes: Sequence[int], *, min_share: float, momentum: float = 0.0
    ) -> ChoiceProposal:
        """Check the sizes against ``init``.

        Raises:
            ValueError: an ``init`` without logits, of another width, or whose logits are no probabilities.
        """
        logits = choices(init)
        if sum(sizes) != logits.shape[-1] or min(sizes, default=0) < 1:
            raise ValueError(
                f"init has action blocks of width {logits.shape[-1]} and sizes={tuple(sizes)} add up to "
                f"{sum(sizes)}; give the number of options of every choice in a block, those of its first "
                "environment step first"
            )
        if not bool(probabilities(logits, tuple(sizes)).isfinite().all()):
            raise ValueError("init holds logits that are no probabilities (NaN, or all options ruled out)")
        if not 0 <= min_share <= 1 or not 0 <= momentum < 1:
            raise ValueError(
                f"expected min_share in [0, 1] and momentum in [0, 1), got {min_share} and {momentum}"
            )
        return cls(tuple(sizes), min_share, momentum)

    def centre(self, dist: ActionDist) -> Float[Tensor, "b l a"]:
        """Return the most likely options as one-hots."""
        return self._hot(choices(dist))

    def sample(self, dist: ActionDist, count: int, streams: Streams) -> Float[Tensor, "b s l a"]:
        """Draw one-hots (the Gumbel trick: the largest of logits plus Gumbel noise)."""
        logits = choices(dist)
        uniform = streams.uniform(count, *logits.shape[1:]).clamp_min(torch.finfo(logits.dtype).tiny)
        return self._hot(logits.unsqueeze(1) - (-uniform.log()).log())

    def refit(
        self, dist: ActionDist, candidates: Float[Tensor, "b s l a"], weights: Float[Tensor, "b s"]
    ) -> ActionDist:
        """Return how often each option is chosen, by weight."""
        old = choices(dist)
        seen = (weights.to(candidates)[..., None, None] * candidates).sum(dim=1)
        shares = self.momentum * probabilities(old, self.sizes) + (1 - self.momentum) * seen
        logits = mixed(shares, self.sizes, self.min_share).log()
        return ActionDist(logits=torch.where((weights.sum(dim=1) > 0)[:, None, None], logits, old))

    def _hot(self, scores: Float[Tensor, "*b a"]) -> Float[Tensor, "*b a"]:
        parts = [
            torch.zeros_like(part).scatter_(-1, part.argmax(dim=-1, keepdim=True), 1.0)
            for part in scores.split(self.sizes, dim=-1)
        ]
        return torch.cat(parts, dim=-1)


def shift(dist: ActionDist, *, steps: int = 1) -> ActionDist:
    """Return the distribution ``steps`` plan steps later: the warm start of the next plan.

    The last plan step stands for those that come into sight.
    """
    if steps < 0:
        raise ValueError(f"steps must be 0 or more, got {steps}")
    fields = {name: value for name, value in vars(dist).items() if value is not None}
    horizon = next(iter(fields.values())).shape[1]
    later = (torch.arange(horizon) + steps).clamp_max(horizon - 1)
    return ActionDist(**{name: value[:, later.to(value.device)] for name, value in fields.items()})


def widen(
    dist: ActionDist, fresh: ActionDist, share: float, sizes: Sequence[int] | None = None
) -> ActionDist:
    """Let a distribution explore again after it has narrowed down in an earlier plan.

    A standard deviation becomes at least ``share`` of ``fresh``'s; probabilities of choices (their ``sizes``)
    become a mixture with ``share`` (at most all) equally likely ones.
    """
    if dist.logits is not None:
        sizes = (dist.logits.shape[-1],) if sizes is None else tuple(sizes)
        return ActionDist(logits=mixed(probabilities(dist.logits, sizes), sizes, min(share, 1.0)).log())
    mean, std = gaussian(dist)
    return ActionDist(mean=mean, std=std.maximum(share * gaussian(fresh)[1]))


def gaussian(dist: ActionDist) -> tuple[Float[Tensor, "b l a"], Float[Tensor, "b l a"]]:
    """Return mean and std; raises ``ValueError`` if the distribution is one of choices."""
    if dist.mean is None or dist.std is None:
        raise ValueError(
            "this planner searches a box and init has logits: pass ActionDist.initial(bounds, ...), or use "
            "categorical_cem for discrete actions"
        )
    return dist.mean, dist.std


def choices(dist: ActionDist) -> Float[Tensor, "b l a"]:
    """Return the logits; raises ``ValueError`` if the distribution is a Gaussian."""
    if dist.logits is None:
        raise ValueError(
            "categorical_cem searches choices and init has mean and std: pass ActionDist.uniform(sizes, "
            "...), or use cem for a box"
        )
    return dist.logits


def probabilities(logits: Float[Tensor, "*b a"], sizes: tuple[int, ...]) -> Float[Tensor, "*b a"]:
    """Return the softmax of each choice."""
    return torch.cat([part.softmax(dim=-1) for part in logits.split(sizes, dim=-1)], dim=-1)


def mixed(shares: Float[Tensor, "*b a"], sizes: tuple[int, ...], share: float) -> Float[Tensor, "*b a"]:
    """Mix probabilities with ``share`` of equally likely options."""
    even = torch.cat([shares.new_full((size,), 1 / size) for size in sizes])
    return (1 - share) * shares + share * even
