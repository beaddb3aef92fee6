"""Masking strategies: one dataclass each; ``worldjepa/model/masking.py`` draws them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Tuple  # OmegaConf reads these at run time


@dataclass
class MultiBlock:
    """Blocks of space over the full time (V-JEPA, arXiv:2404.08471, section 3.1); context = the rest.

    ``spatial_scale`` is the share of a frame one block covers, ``aspect`` the range of height/width,
    ``temporal_scale`` the share of the latent steps a block covers.
    """

    num_blocks: int = 8
    spatial_scale: Tuple[float, float] = (0.15, 0.15)
    aspect: Tuple[float, float] = (0.75, 1.5)
    temporal_scale: Tuple[float, float] = (1.0, 1.0)


@dataclass
class CausalMultiBlock(MultiBlock):
    """MultiBlock whose context comes only from the first ``context_share`` of the latent steps."""

    context_share: float = 0.5


@dataclass
class RandomTube:
    """Hide the same random ``ratio`` of places in every latent step (VideoMAE's tube masking)."""

    ratio: float = 0.75


@dataclass
class RandomTokens:
    """Hide a random ``ratio`` of all tokens, wherever they stand (MAE)."""

    ratio: float = 0.75


@dataclass
class Block:
    """I-JEPA's image masks (arXiv:2301.08243, section 3): target blocks, one context block less them."""

    num_targets: int = 4
    target_scale: Tuple[float, float] = (0.15, 0.2)
    target_aspect: Tuple[float, float] = (0.75, 1.5)
    context_scale: Tuple[float, float] = (0.85, 1.0)


@dataclass
class Future:
    """Context is the first ``context_share`` of the latent steps (at least one), target the others."""

    context_share: float = 0.5


@dataclass
class RandomFrames:
    """Hide a random ``ratio`` of the latent steps, whole."""

    ratio: float = 0.5


STRATEGIES: dict[str, type] = {
    "multi_block": MultiBlock,
    "causal_multi_block": CausalMultiBlock,
    "random_tube": RandomTube,
    "random_tokens": RandomTokens,
    "block": Block,
    "future": Future,
    "random_frames": RandomFrames,
}
