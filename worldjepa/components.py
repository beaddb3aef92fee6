"""Latents as colours: their three first principal components are red, green and blue."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

ENDS = 0.02  # share of the tokens beyond each end of the scale


@dataclass(frozen=True)
class Components:
    """Three directions of a latent space, and which part of each makes the scale of a colour."""

    mean: Float[Tensor, " d"]
    directions: Float[Tensor, "d 3"]
    low: Float[Tensor, " 3"]
    high: Float[Tensor, " 3"]

    @classmethod
    def fit(cls, latents: Float[Tensor, "*b d"]) -> Components:
        """Return the components of all ``latents`` together; those of fewer than three axes are zero."""
        flat = latents.detach().float().cpu().flatten(0, -2)
        mean = flat.mean(dim=0)
        _, vectors = torch.linalg.eigh((flat - mean).T.double() @ (flat - mean).double())
        largest = vectors.flip(1)[:, :3].float()
        largest = F.pad(largest, (0, 3 - largest.shape[1]))
        # a direction has no sign of its own: the same latents give the same colours
        largest = largest * torch.where(largest.sum(dim=0) < 0, -1.0, 1.0)
        ordered = ((flat - mean) @ largest).sort(dim=0).values
        last = len(ordered) - 1
        return cls(mean, largest, ordered[round(ENDS * last)], ordered[round((1 - ENDS) * last)])

    def colours(self, latents: Float[Tensor, "*b d"]) -> UInt8[Tensor, "*b 3"]:
        """Return the colour of each latent."""
        parts = (latents.detach().float().cpu() - self.mean) @ self.directions
        share = (parts - self.low) / (self.high - self.low).clamp_min(1e-6)
        return (share.clamp(0, 1) * 255).round().to(torch.uint8)
