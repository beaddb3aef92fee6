"""The tubelet ViT: frames to latents.

V-JEPA (arXiv:2404.08471) and V-JEPA 2 (arXiv:2506.09985), with four kinds of attention over time:

``full``        every token sees the whole clip (masked pretraining);
``step``        each latent step alone, at time 0: an observation encodes exactly as it would in a clip;
``causal``      block-causal: a latent step sees itself and earlier ones;
``factorised``  the first half of the blocks within each latent step, the others along time at each place,
                causally (ViViT's factorised encoder, arXiv:2103.15691, with the past only).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from worldjepa.model.layers.block import NORM_EPS, Block, init_transformer, run_blocks
from worldjepa.model.layers.precision import compute_dtype
from worldjepa.model.layers.rope import CONVENTIONS, Rotary, grid_rotary
from worldjepa.model.layers.sincos import grid_sincos
from worldjepa.model.layers.tubelet import TubeletEmbed, gather_tokens
from worldjepa.model.projector import Projector
from worldjepa.types import Grid

ATTENTION = ("full", "step", "causal", "factorised")
POSITIONS = ("rope", "sincos", "sincos_thirds")


class VideoEncoder(nn.Module):
    """Encode normalised float frames ``[b f c y x]`` into latents ``[b t p d]``.

    ``frames_per_step`` frames make a latent step: ``tubelet_size`` of them (default), or 1, which is repeated
    to fill its tubelet. ``window`` limits how many latent steps ``causal`` and ``factorised`` attention see.
    A ``projector`` makes one pooled latent of a step's tokens. ``checkpoint_blocks`` recomputes each block in
    the backward pass to save memory.
    """

    checkpoint_blocks = False

    def __init__(
        self,
        *,
        dim: int = 128,
        depth: int = 4,
        num_heads: int = 4,
        mlp_ratio: float = 4.0,
        patch_size: int = 16,
        tubelet_size: int = 2,
        frames_per_step: int | None = None,
        positions: str = "rope",
        rope: str = "paired",
        attention: str = "full",
        window: int | None = None,
        channels: int = 3,
        projector: Projector | None = None,
    ):
        super().__init__()
        _check_choice("attention", attention, ATTENTION)
        _check_choice("positions", positions, POSITIONS)
        _check_choice("rope", rope, CONVENTIONS)
        self.frames_per_step = tubelet_size if frames_per_step is None else frames_per_step
        if self.frames_per_step not in (1, tubelet_size):
            raise ValueError(
                f"frames_per_step must be 1 or tubelet_size={tubelet_size}, got {frames_per_step}"
            )
        self.dim, self.positions, self.rope, self.attention, self.window = (
            dim,
            positions,
            rope,
            attention,
            window,
        )
        self.embed = TubeletEmbed(dim, patch_size=patch_size, tubelet_size=tubelet_size, channels=channels)
        self.blocks = nn.ModuleList(Block(dim, num_heads, mlp_ratio=mlp_ratio) for _ in range(depth))
        self.norm = nn.LayerNorm(dim, eps=NORM_EPS)
        self.head_dim = dim // num_heads
        init_transformer(self, self.blocks)
        self.projector = projector  # draws its own weights

    def forward(self, frames: Float[Tensor, "b f c y x"]) -> Float[Tensor, "b t p d"]:
        """Return the latents of whole clips: the patch tokens, or one pooled latent a step.

        Raises:
            ValueError: the frames do not fill whole tubelets, or have other channels.
        """
        tokens = self.tokens(frames)
        return tokens if self.projector is None else self.projector(tokens)

    @property
    def latent_dim(self) -> int:
        """Width of the latents."""
        return self.dim if self.projector is None else self.projector.latent_dim

    def latent_grid(self, y: int, x: int) -> tuple[int, int]:
        """Return the rows and columns of latents of a ``y`` x ``x`` frame."""
        patch = self.embed.patch_size
        return (y // patch, x // patch) if self.projector is None else (1, 1)

    def tokens(self, frames: Float[Tensor, "b f c y x"]) -> Float[Tensor, "b t p d"]:
        """Return the patch tokens of whole clips, before the projector."""
        grid = self.grid(frames)
        return rearrange(self.encode_tubelets(self.tubelets(frames), grid), "b (t p) d -> b t p d", t=grid.t)

    def visible(self, frames: Float[Tensor, "b f c y x"], ids: Int[Tensor, "b k"]) -> Float[Tensor, "b k d"]:
        """Return the latents of tokens ``ids``, which see nothing but each other (the context encoder)."""
        return self.encode_tubelets(self.tubelets(frames), self.grid(frames), ids)

    def tubelets(self, frames: Float[Tensor, "b f c y x"]) -> Float[Tensor, "b n pixels"]:
        """Cut clips into tubelets of raw pixels, once for every pass that reads them.

        Under autocast they have its precision: they are read by a linear map only.
        """
        return self.embed.patchify(self._fill_tubelets(frames.to(compute_dtype(frames))))

    def encode_tubelets(
        self,
        tubelets: Float[Tensor, "b n pixels"],
        grid: Grid,
        ids: Int[Tensor, "b k"] | None = None,
        parts: tuple[int, ...] = (),
    ) -> Float[Tensor, "b _ d"]:
        """Return the latents of all tubelets of a clip, or of ``ids``, which see nothing but each other.

        ``parts`` are the lengths of several sets of tokens packed one after the other in ``ids`` (one a mask
        setting): each sees only itself, and all go through the linear maps together.
        """
        if ids is not None:
            tubelets = gather_tokens(tubelets, ids)
        return self._transform(self._add_positions(self.embed(tubelets), grid, ids), grid, ids, parts)

    def grid(self, frames: Shaped[Tensor, "b f c y x"]) -> Grid:
        """Return the token grid of a clip, time counted in latent steps."""
        return self.embed.grid(self._fill_tubelets(frames))

    def _fill_tubelets(self, frames: Tensor) -> Tensor:
        if self.frames_per_step == self.embed.tubelet_size:
            return frames
        return frames.repeat_interleave(self.embed.tubelet_size, dim=1)

    def _add_positions(self, x: Tensor, grid: Grid, ids: Tensor | None) -> Tensor:
        if self.positions == "rope":
            return x
        thirds = self.positions == "sincos_thirds"
        table = grid_sincos(grid, self.dim, self.attention != "step", x.device, thirds)
        return x + (table if ids is None else table[0][ids]).to(x.dtype)

    def _transform(self, x: Tensor, grid: Grid, ids: Tensor | None, parts: tuple[int, ...]) -> Tensor:
        """Run the blocks over tokens ``ids`` of the grid (None: all of them, in order)."""
        spatial = {"step": len(self.blocks), "factorised": len(self.blocks) // 2}.get(self.attention, 0)
        if spatial:
            x = self._run(self.blocks[:spatial], x, grid, ids, parts, within_step=True)
        if spatial < len(self.blocks):
            x = self._run(self.blocks[spatial:], x, grid, ids, parts, within_step=False)
        return self.norm(x)

    def _run(
        self,
        blocks: nn.ModuleList,
        x: Tensor,
        grid: Grid,
        ids: Tensor | None,
        parts: tuple[int, ...],
        *,
        within_step: bool,
    ) -> Tensor:
        recompute, window = self.checkpoint_blocks, 1 if within_step else self.window
        table = self._rotary(x, grid, in_time=not within_step)
        if ids is None and self.attention in ("step", "factorised"):
            return self._run_apart(blocks, x, grid, table, within_step)
        if ids is not None and table is not None:
            table = table.take(ids)
        if self.attention == "full":
            return run_blocks(blocks, x, recompute=recompute, rotary=table, parts=parts)
        ids = torch.arange(grid.n, device=x.device) if ids is None else ids
        places = ids % grid.p if self.attention == "factorised" and not within_step else None
        rule = {"steps": ids // grid.p, "window": window, "places": places, "parts": parts}
        return run_blocks(blocks, x, recompute=recompute, rotary=table, **rule)

    def _run_apart(
        self, blocks: nn.ModuleList, x: Tensor, grid: Grid, table: Rotary | None, within_step: bool
    ) -> Tensor:
        """Attend within each latent step, or along time at each place, as separate rows: no masks needed."""
        if within_step:
            rows, back, cut = "b (t p) d -> (b t) p d", "(b t) p d -> b (t p) d", slice(0, grid.p)
        else:
            rows, back, cut = "b (t p) d -> (b p) t d", "(b p) t d -> b (t p) d", slice(0, None, grid.p)
        table = None if table is None else Rotary(table.cos[:, :, cut], table.sin[:, :, cut])
        x = rearrange(x, rows, t=grid.t, p=grid.p)
        steps = None if within_step else torch.arange(grid.t, device=x.device)
        x = run_blocks(
            blocks, x, recompute=self.checkpoint_blocks, rotary=table, steps=steps, window=self.window
        )
        return rearrange(x, back, t=grid.t, p=grid.p)

    def _rotary(self, x: Tensor, grid: Grid, in_time: bool) -> Rotary | None:
        if self.positions != "rope":
            return None
        return grid_rotary(grid, self.head_dim, self.rope, in_time, compute_dtype(x), x.device)


def normalise_latents(latents: Float[Tensor, "*b d"], kind: str) -> Float[Tensor, "*b d"]:
    """Apply the latent space's norm: ``layer`` (LayerNorm without affine) or ``none``."""
    if kind != "layer":
        return latents
    x = latents if latents.dtype == torch.float64 else latents.float()
    return F.layer_norm(x, x.shape[-1:])


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}")
