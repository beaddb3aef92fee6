"""The masked predictor: context latents and mask tokens to predicted target latents.

A narrow ViT (V-JEPA, arXiv:2404.08471, section 3.2). Each mask setting of a step has its own learned mask
token, zero at the start; positions alone tell one target token from another.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from worldjepa.model.layers.block import NORM_EPS, Block, init_transformer, run_blocks
from worldjepa.model.layers.rope import CONVENTIONS, grid_rotary
from worldjepa.model.layers.sincos import grid_sincos
from worldjepa.types import Grid, Masks


class MaskedPredictor(nn.Module):
    """Predict the latents of masked tokens.

    ``latent_dim`` is the encoder's width, ``dim`` the predictor's own; ``num_mask_tokens`` the number of mask
    settings in a training step.
    """

    checkpoint_blocks = False

    def __init__(
        self,
        *,
        latent_dim: int,
        dim: int = 384,
        depth: int = 12,
        num_heads: int = 12,
        mlp_ratio: float = 4.0,
        positions: str = "rope",
        rope: str = "paired",
        num_mask_tokens: int = 1,
    ):
        super().__init__()
        if rope not in CONVENTIONS:
            raise ValueError(f"rope must be one of {', '.join(CONVENTIONS)}, got {rope!r}")
        self.dim, self.head_dim, self.positions, self.rope = dim, dim // num_heads, positions, rope
        self.embed = nn.Linear(latent_dim, dim)
        self.mask_tokens = nn.Parameter(torch.zeros(num_mask_tokens, dim))
        self.blocks = nn.ModuleList(Block(dim, num_heads, mlp_ratio=mlp_ratio) for _ in range(depth))
        self.norm = nn.LayerNorm(dim, eps=NORM_EPS)
        self.proj = nn.Linear(dim, latent_dim)
        init_transformer(self, self.blocks)

    def forward(
        self, context: Float[Tensor, "b k d"], masks: Masks, grid: Grid, setting: int = 0
    ) -> Float[Tensor, "b m d"]:
        """Predict the target tokens of ``masks`` from the context tokens' latents.

        Args:
            context: latents of the tokens ``masks.context``.
            masks: which tokens those are, and which to predict.
            grid: the clip's token grid.
            setting: which mask setting of the step this is; chooses the mask token.
        """
        return self.predict_settings([context], (masks,), grid, first=setting)[0]

    def predict_settings(
        self, contexts: Sequence[Float[Tensor, "b _ d"]], masks: Sequence[Masks], grid: Grid, first: int = 0
    ) -> list[Float[Tensor, "b _ d"]]:
        """Predict the target tokens of several mask settings (from number ``first`` on) in one pass.

        Each setting sees only itself; together they share the linear maps.
        """
        visible = self.embed(torch.cat(list(contexts), dim=1)).split([c.shape[1] for c in contexts], dim=1)
        sequences = []
        for index, (mask, context) in enumerate(zip(masks, visible, strict=True), start=first):
            token = self.mask_tokens[index % len(self.mask_tokens)].to(context.dtype)
            sequences += [context, token.expand(*mask.target.shape, -1)]
        x, table = torch.cat(sequences, dim=1), None
        ids = torch.cat([ids for mask in masks for ids in (mask.context, mask.target)], dim=1)
        if self.positions != "rope":
            thirds = self.positions == "sincos_thirds"
            x = x + grid_sincos(grid, self.dim, True, x.device, thirds)[0][ids].to(x.dtype)
        else:
            table = grid_rotary(grid, self.head_dim, self.rope, True, x.dtype, x.device).take(ids)
        parts = tuple(mask.context.shape[1] + mask.target.shape[1] for mask in masks)
        x = run_blocks(self.blocks, x, recompute=self.checkpoint_blocks, rotary=table, parts=parts)
        pairs = zip(x.split(parts, dim=1), masks, strict=True)
        targets = torch.cat([part[:, mask.context.shape[1] :] for part, mask in pairs], dim=1)
        return list(self.proj(self.norm(targets)).split([mask.target.shape[1] for mask in masks], dim=1))
