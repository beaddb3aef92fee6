"""The pre-norm transformer block that encoder and predictors are made of."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from worldjepa.model.layers.attention import Attention
from worldjepa.model.layers.cache import KeyValues, Past
from worldjepa.model.layers.linear import Linear
from worldjepa.model.layers.modulation import PLAIN, Modulation
from worldjepa.model.layers.rope import Rotary

NORM_EPS = 1e-6


class Mlp(nn.Module):
    """Two linear layers with GELU between."""

    def __init__(self, dim: int, hidden_dim: int):
        super().__init__()
        self.fc1 = Linear(dim, hidden_dim)
        self.fc2 = Linear(hidden_dim, dim)

    def forward(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """Apply the layers token by token."""
        return self.fc2(self.fc1(x, gelu=True))


class Block(nn.Module):
    """Attention, then MLP, each on the LayerNorm of a residual stream (ViT, arXiv:2010.11929)."""

    def __init__(self, dim: int, num_heads: int, *, mlp_ratio: float = 4.0, qkv_bias: bool = True):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=NORM_EPS)
        self.attn = Attention(dim, num_heads, qkv_bias=qkv_bias)
        self.norm2 = nn.LayerNorm(dim, eps=NORM_EPS)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))

    def forward(
        self,
        x: Float[Tensor, "b n d"],
        *,
        rotary: Rotary | None = None,
        steps: Int[Tensor, "*b n"] | None = None,
        window: int | None = None,
        places: Int[Tensor, "*b n"] | None = None,
        parts: tuple[int, ...] = (),
        past: Past | None = None,
        modulation: Modulation = PLAIN,
    ) -> tuple[Float[Tensor, "b n d"], KeyValues]:
        """Transform tokens; arguments, but for AdaLN's, and the second result are those of ``Attention``."""
        rule = {"steps": steps, "window": window, "places": places, "parts": parts, "past": past}
        mixed, present = self.attn(modulation.attn.before(self.norm1(x)), rotary=rotary, **rule)
        x = x + modulation.attn.after(mixed)
        return x + modulation.mlp.after(self.mlp(modulation.mlp.before(self.norm2(x)))), present


def run_blocks(
    blocks: nn.ModuleList,
    x: Float[Tensor, "b n d"],
    *,
    recompute: bool,
    rotary: Rotary | None = None,
    steps: Int[Tensor, "*b n"] | None = None,
    window: int | None = None,
    places: Int[Tensor, "*b n"] | None = None,
    parts: tuple[int, ...] = (),
) -> Float[Tensor, "b n d"]:
    """Run blocks without a cache; ``recompute`` trades the memory of activations for a second forward."""
    for block in blocks:
        rule = {"rotary": rotary, "steps": steps, "window": window, "places": places, "parts": parts}
        if recompute and torch.is_grad_enabled():
            x, _ = checkpoint(block, x, use_reentrant=False, **rule)
        else:
            x, _ = block(x, **rule)
    return x


def init_transformer(module: nn.Module, blocks: nn.ModuleList) -> None:
    """Draw weights as the V-JEPA papers do.

    Truncated normal of standard deviation 0.02, zero biases; the last linear map of each residual branch is
    divided by sqrt(2 * depth index), so that the residual stream does not grow with depth.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.trunc_normal_(layer.weight, std=0.02)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    for index, block in enumerate(blocks, start=1):
        assert isinstance(block, Block)
        block.attn.proj.weight.data.div_(math.sqrt(2 * index))
        block.mlp.fc2.weight.data.div_(math.sqrt(2 * index))
