"""What an agent sees and does at a latent step, as plain spaces: a latent as a vector, an action block."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces
from jaxtyping import Float, Float32
from torch import Tensor

from worldjepa.data.episodes.action_spec import ActionSpec


@dataclass(frozen=True)
class LatentVectors:
    """Latents of ``tokens`` x ``dim`` as vectors: of ``tokens * dim`` numbers, or pooled, their mean."""

    tokens: int
    dim: int
    pooled: bool

    @property
    def space(self) -> spaces.Box:
        """The space of one observation."""
        width = self.dim if self.pooled else self.tokens * self.dim
        return spaces.Box(-np.inf, np.inf, (width,), np.float32)

    def read(self, latents: Float[Tensor, "n p d"]) -> Float32[np.ndarray, "n width"]:
        """Return the observations of ``n`` latents, in memory of their own."""
        flat = latents.mean(dim=1) if self.pooled else latents.flatten(1)
        return flat.detach().float().cpu().numpy().copy()


@dataclass(frozen=True)
class ActionBlocks:
    """``length`` environment actions in a row, step-major, as one action of ``space``."""

    spec: ActionSpec
    length: int

    @property
    def space(self) -> spaces.Box | spaces.Discrete | spaces.MultiDiscrete:
        """The space of a block: a flat float32 Box, or a number from 0 for each choice.

        A Box that is open on a side stays open.
        """
        if self.spec.kind == "box":
            edges = np.array([self.spec.low, self.spec.high], np.float32)
            low, high = np.tile(edges, self.length)
            return spaces.Box(low, high, dtype=np.float32)
        sizes = self.spec.sizes * self.length
        if self.spec.kind == "discrete" and self.length == 1:
            return spaces.Discrete(sizes[0])
        return spaces.MultiDiscrete(np.array(sizes))

    def to_env(self, blocks: Any) -> np.ndarray:
        """Return blocks ``[n *space.shape]`` as ``[n length *shape]``, each as ``env.step`` takes it.

        Values beyond the bounds of a Box are clipped.

        Raises:
            ValueError: another shape, numbers that are not finite, or choices that are not whole.
        """
        blocks, space = np.asarray(blocks), self.space
        if blocks.ndim < 1 or blocks.shape[1:] != space.shape:
            raise ValueError(f"expected a row of {space} for each environment, got actions {blocks.shape}")
        if not np.isfinite(blocks).all():
            raise ValueError(f"actions must be finite, got {blocks[~np.isfinite(blocks)][:3].tolist()}")
        steps = blocks.reshape(len(blocks), self.length, -1)
        if self.spec.kind == "box":
            return self.spec.to_env(steps)
        if (steps != np.round(steps)).any():
            raise ValueError(f"choices are whole numbers, got {steps[steps != np.round(steps)][:3].tolist()}")
        choices = (steps + np.array(self.spec.start)).astype(self.spec.dtype)
        return choices.reshape(len(blocks), self.length, *self.spec.shape)

    def to_model(self, blocks: Any) -> Float32[np.ndarray, "n a"]:
        """Return blocks as the model reads them: as they would have been recorded.

        Raises:
            ValueError: those of ``to_env``, or choices that the space does not have.
        """
        return self.spec.from_env(self.to_env(blocks)).reshape(len(blocks), -1)
