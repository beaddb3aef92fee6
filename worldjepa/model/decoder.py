"""The pixel decoder: latents to the tubelets they stand for, or to hidden ones beside them.

A narrow ViT, as in MAE (arXiv:2111.06377, section 3) and VideoMAE (arXiv:2203.12602, section 3.2). It is
trained with an encoder that reconstructs, and is no part of the model that is kept.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from worldjepa.model.layers.block import NORM_EPS, Block, init_transformer, run_blocks
from worldjepa.model.layers.linear import Linear
from worldjepa.model.layers.rope import grid_rotary
from worldjepa.model.layers.sincos import grid_sincos
from worldjepa.types import Grid, Masks


class PixelDecoder(nn.Module):
    """Draw tubelets of ``pixels`` values each.

    ``latent_dim`` is the encoder's width, ``dim`` the decoder's own. ``masked``: it draws hidden tubelets,
    each of which begins as one learned mask token; else those of the latents themselves.
    """

    checkpoint_blocks = False

    def __init__(
        self,
        *,
        latent_dim: int,
        pixels: int,
        dim: int = 384,
        depth: int = 4,
        num_heads: int = 6,
        mlp_ratio: float = 4.0,
        positions: str = "rope",
        rope: str = "paired",
        masked: bool = False,
    ):
        super().__init__()
        self.dim, self.head_dim, self.positions, self.rope = dim, dim // num_heads, positions, rope
        self.embed = Linear(latent_dim, dim)
        self.mask_token = nn.Parameter(torch.zeros(dim)) if masked else None
        self.blocks = nn.ModuleList(Block(dim, num_heads, mlp_ratio=mlp_ratio) for _ in range(depth))
        self.norm = nn.LayerNorm(dim, eps=NORM_EPS)
        self.proj = Linear(dim, pixels)
        init_transformer(self, self.blocks)

    def forward(
        self, latents: Float[Tensor, "b k d"], grid: Grid, masks: Masks | None = None
    ) -> Float[Tensor, "b _ pixels"]:
        """Return the tubelets of all tokens of ``grid`` from their latents, or those of ``masks.target``.

        Args:
            latents: of all tokens, in token-id order; or of the tokens ``masks.context``.
            grid: the clip's token grid.
            masks: for a ``masked`` decoder, and for no other.
        """
        assert (masks is None) == (self.mask_token is None)
        x, ids = self.embed(latents), None
        if masks is not None and self.mask_token is not None:
            x = torch.cat([x, self.mask_token.to(x.dtype).expand(*masks.target.shape, -1)], dim=1)
            ids = torch.cat([masks.context, masks.target], dim=1)
        table = None
        if self.positions == "rope":
            table = grid_rotary(grid, self.head_dim, self.rope, True, x.dtype, x.device)
            table = table if ids is None else table.take(ids)
        else:
            places = grid_sincos(grid, self.dim, True, x.device, self.positions == "sincos_thirds")
            x = x + (places if ids is None else places[0][ids]).to(x.dtype)
        x = run_blocks(self.blocks, x, recompute=self.checkpoint_blocks, rotary=table)
        return self.proj(self.norm(x if masks is None else x[:, masks.context.shape[1] :]))
