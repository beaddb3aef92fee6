"""Is the true state in the latents? A ridge fit on frozen latents, judged on held-out episodes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from worldjepa.evaluation.probes import NoProbeError

PENALTIES = tuple(10.0**power for power in range(-8, 3))  # of ridge, as shares of the features' mean square
HELD_BACK = 5  # every fifth row chooses the penalty


@dataclass(frozen=True)
class StateProbe:
    """A linear map from latents to the environment's true state.

    ``weight [features z]`` acts on features shifted by ``mean`` and scaled by ``std``; ``bias [z]`` is the
    mean state.
    """

    mean: Tensor
    std: Tensor
    weight: Tensor
    bias: Tensor

    def __call__(self, latents: Float[Tensor, "*b p d"]) -> Float[Tensor, "*b z"]:
        """Read the state from latents."""
        features = latents.flatten(-2).double()
        return ((features - self.mean) / self.std) @ self.weight + self.bias

    def rmse(self, latents: Float[Tensor, "*b p d"], state: Float[Tensor, "*b z"]) -> Float[Tensor, " z"]:
        """Return the root mean squared error of each component of the state, in its own unit."""
        return (self(latents) - state.double()).flatten(0, -2).square().mean(dim=0).sqrt()


def fit_state_probe(latents: Float[Tensor, "n p d"], state: Float[Tensor, "n z"]) -> StateProbe:
    """Fit by ridge regression; every fifth row chooses the penalty, then all rows count.

    Raises:
        NoProbeError: fewer than 10 rows.
    """
    if len(latents) < 2 * HELD_BACK:
        raise NoProbeError(f"a state probe is fitted to {2 * HELD_BACK} rows or more, got {len(latents)}")
    held = torch.arange(len(latents)) % HELD_BACK == 0
    tried = _Ridge(latents[~held], state[~held])
    scores = [tried.probe(penalty).rmse(latents[held], state[held]).square().sum() for penalty in PENALTIES]
    best = int(torch.stack(scores).nan_to_num(nan=torch.inf).argmin())
    return _Ridge(latents, state).probe(PENALTIES[best])


class _Ridge:
    """Ridge regression under any penalty, from inner products made once.

    Where there are more features than rows (all patches of a large encoder), they are those of rows, and the
    weights a sum of rows: the same weights, from a matrix that is as small as the rows are few.
    """

    def __init__(self, latents: Float[Tensor, "n p d"], state: Float[Tensor, "n z"]):
        features, target = latents.flatten(1).double(), state.double()
        self.mean, self.std = features.mean(dim=0), features.std(dim=0).clamp_min(1e-6)
        self.x, self.bias = (features - self.mean) / self.std, target.mean(dim=0)
        self.y = target - self.bias
        self.wide = self.x.shape[1] > self.x.shape[0]
        self.products = self.x @ self.x.T if self.wide else self.x.T @ self.x

    def probe(self, penalty: float) -> StateProbe:
        """Fit; ``penalty`` is a share of the features' mean square."""
        damped = self.products.clone()
        damped.diagonal().add_(penalty * len(self.x))
        if self.wide:
            weight = self.x.T @ torch.linalg.solve(damped, self.y)
        else:
            weight = torch.linalg.solve(damped, self.x.T @ self.y)
        return StateProbe(self.mean, self.std, weight, self.bias)
