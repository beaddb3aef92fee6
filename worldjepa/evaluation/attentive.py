"""The attentive probe: a small transformer over frozen tokens, and one query that reads them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from worldjepa.model.layers.block import NORM_EPS, Block, Mlp, init_transformer, run_blocks
from worldjepa.model.layers.linear import Linear
from worldjepa.model.layers.mixing import attend

NARROWEST = 16  # width of an attention head


def scaled_heads(dim: int, asked: int) -> int:
    """Return the most heads up to ``asked`` that divide ``dim`` into even widths of ``NARROWEST`` or more."""
    fitting = [h for h in range(1, asked + 1) if dim % h == 0 and dim // h % 2 == 0 and dim // h >= NARROWEST]
    return max(fitting, default=1)


class AttentiveProbe(nn.Module):
    """Classify clips from their tokens: ``depth`` - 1 blocks of self-attention, then one of cross-attention.

    V-JEPA 2's (arXiv:2506.09985, section 5): 4 blocks of 16 heads, a learned query, a linear classifier. It
    sees tokens without positions: these are in the latents. ``dim`` is the tokens' width.
    """

    def __init__(
        self, *, dim: int, classes: int, depth: int = 4, num_heads: int = 16, mlp_ratio: float = 4.0
    ):
        super().__init__()
        self.num_heads = num_heads
        self.blocks = nn.ModuleList(Block(dim, num_heads, mlp_ratio=mlp_ratio) for _ in range(depth - 1))
        self.query = nn.Parameter(0.02 * torch.randn(1, 1, dim))
        self.norm1, self.norm2 = nn.LayerNorm(dim, eps=NORM_EPS), nn.LayerNorm(dim, eps=NORM_EPS)
        self.q, self.kv = Linear(dim, dim), Linear(dim, 2 * dim)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))
        self.classifier = Linear(dim, classes)
        init_transformer(self, self.blocks)

    def forward(self, tokens: Float[Tensor, "b t p d"]) -> Float[Tensor, "b classes"]:
        """Return a score for each class."""
        x = run_blocks(self.blocks, tokens.flatten(1, 2), recompute=False)
        q, k, v = self._heads(x)
        pooled = self.query + attend(q, k, v).transpose(1, 2).flatten(2)
        pooled = pooled + self.mlp(self.norm2(pooled))
        return self.classifier(pooled[:, 0])

    @torch.no_grad()
    def weights(self, tokens: Float[Tensor, "b t p d"]) -> Float[Tensor, "b t p"]:
        """Return how much of the query's attention each token gets, the mean over heads: they sum to 1."""
        q, k, _ = self._heads(run_blocks(self.blocks, tokens.flatten(1, 2), recompute=False))
        share = F.softmax(q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5, dim=-1)
        return share.mean(dim=1)[:, 0].unflatten(1, tokens.shape[1:3])

    def _heads(self, x: Float[Tensor, "b n d"]) -> tuple[Tensor, Tensor, Tensor]:
        seen = self.norm1(x)
        query = self.q(self.query.expand(len(x), -1, -1)).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
        k, v = self.kv(seen).unflatten(-1, (2, self.num_heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        return query, k, v
