"""The action predictor: latents and actions to the latents that follow.

A transformer over latent steps, block-causal: tokens see their own step and earlier ones, in every layer
those of the last ``window`` steps. Two ways to give it the action, of one class:

``adaln``   the action (and proprioception) modulates every block (DiT, arXiv:2212.09748; LeWM, DINO-WM's
successors); ``tokens``  action and proprioception are tokens of their step, before its patches (V-JEPA 2-AC,
            arXiv:2506.09985, section 3.1); they turn with time only.

Positions are rotary, so that only distances in time matter, and the window is a mask in every layer, not a
cut of the
input: with both, keys and values of past steps can be kept and reused exactly (``rollout.py``).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from worldjepa.model.kinematics import KINEMATICS, POSE
from worldjepa.model.layers.block import NORM_EPS, Block, init_transformer
from worldjepa.model.layers.cache import KeyValues, Past
from worldjepa.model.layers.linear import Linear
from worldjepa.model.layers.modulation import PLAIN, AdaLN, Modulation
from worldjepa.model.layers.rope import CONVENTIONS, Rotary, grid_positions, rotary
from worldjepa.model.step_predictor import StepPredictor
from worldjepa.types import Grid

CONDITIONING = ("adaln", "tokens")


class ActionPredictor(StepPredictor):
    """Predict latent i+1 from latents up to i and the actions that leave them.

    Args:
        latent_dim: width of the latents.
        action_dim: width of an action block.
        grid: rows and columns of a latent step's tokens; (1, 1) for pooled latents.
        proprioception_dim: width of the measured state that may be given beside the latents; 0 for none.
        dim: width of the transformer.
        depth: its blocks.
        num_heads: of its attention.
        mlp_ratio: width of its MLPs, a multiple of ``dim``.
        conditioning: adaln or tokens.
        window: how many latent steps a step sees in each layer, its own included; None for all.
        rope: paired (relative) or vjepa2 (published weights').
        trained_grid: rows and columns of the grid that the weights were trained on; positions on another grid
            are scaled to it. None: the grid itself.
        kinematics: how proprioception follows from actions, ``end_effector`` (``kinematics.py``): rollouts
            carry it on. None: it is known where it is given.

    Raises:
        ValueError: an unknown ``conditioning``, ``rope`` or ``kinematics``, a window below 1, a width that
            the heads do not divide, or one that the kinematics do not have.
    """

    def __init__(
        self,
        *,
        latent_dim: int,
        action_dim: int,
        grid: tuple[int, int] = (1, 1),
        proprioception_dim: int = 0,
        dim: int = 192,
        depth: int = 6,
        num_heads: int = 6,
        mlp_ratio: float = 4.0,
        conditioning: str = "adaln",
        window: int | None = None,
        rope: str = "paired",
        trained_grid: int | None = None,
        kinematics: str | None = None,
    ):
        super().__init__()
        for name, value, known in (("conditioning", conditioning, CONDITIONING), ("rope", rope, CONVENTIONS)):
            if value not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}")
        if kinematics is not None:
            _check_kinematics(kinematics, proprioception_dim, action_dim)
        if window is not None and window < 1:
            raise ValueError(f"window must be 1 (the present latent step) or more, or None, got {window}")
        self.latent_dim, self.action_dim, self.proprioception_dim = latent_dim, action_dim, proprioception_dim
        self.conditioning, self.window, self.rope, self.head_dim = (
            conditioning,
            window,
            rope,
            dim // num_heads,
        )
        self.grid = Grid(1, *grid)
        self.embed = Linear(latent_dim, dim)
        self.action_embed = _embedding(action_dim, dim, conditioning)
        self.null_action = nn.Parameter(torch.empty(dim))
        if proprioception_dim:
            self.proprioception_embed = _embedding(proprioception_dim, dim, conditioning)
            self.null_proprioception = nn.Parameter(torch.empty(dim))
        self.blocks = nn.ModuleList(Block(dim, num_heads, mlp_ratio=mlp_ratio) for _ in range(depth))
        adaln = conditioning == "adaln"
        self.modulations = nn.ModuleList(AdaLN(dim) for _ in range(depth)) if adaln else None
        self.norm = nn.LayerNorm(dim, eps=NORM_EPS)
        self.proj = Linear(dim, latent_dim)
        self.extra = 0 if adaln else 1 + bool(proprioception_dim)  # tokens of a step that are no latents
        self.trained_grid, self.kinematics = trained_grid, kinematics
        positions = grid_positions(self.grid)
        if trained_grid is not None:
            positions[:, 1:] *= trained_grid / torch.tensor(grid)
        positions = torch.cat([torch.zeros(self.extra, 3), positions])
        self.register_buffer("places", positions, persistent=False)
        self._init_weights()

    def _init_weights(self) -> None:
        init_transformer(self, self.blocks)
        for modulation in self.modulations or ():
            assert isinstance(modulation, AdaLN)
            modulation.init_small()
        nn.init.normal_(self.null_action, std=0.02)
        if self.proprioception_dim:
            nn.init.normal_(self.null_proprioception, std=0.02)

    @property
    def step_tokens(self) -> int:
        """Tokens of a latent step on their way through the transformer."""
        return self.grid.p + self.extra

    def forward(
        self,
        latents: Float[Tensor, "b t p d"],
        actions: Float[Tensor, "b t a"] | None = None,
        *,
        known: Bool[Tensor, "b t"] | None = None,
        proprioception: Float[Tensor, "b t q"] | None = None,
    ) -> Float[Tensor, "b t p d"]:
        """Predict, with teacher forcing, the latent after each of those given.

        Args:
            latents: encoded latents.
            actions: scaled action blocks, each of the step it leaves; None: null actions.
            known: where False, the null action stands in for the action.
            proprioception: measured at each latent step, NaN where it was not; None: nowhere. What was not
                measured is a learned null.

        Returns:
            Predictions, without the latent norm: the i-th is that of latent i+1.
        """
        x, condition = self._embed(latents, actions, known, proprioception)
        steps = torch.arange(latents.shape[1], device=x.device)
        table, ids = self.rotary(steps), steps.repeat_interleave(self.step_tokens)
        for block, modulation in zip(self.blocks, self._modulate(condition), strict=True):
            x, _ = block(x, rotary=table, steps=ids, window=self.window, modulation=modulation)
        return self._read(x)

    def context(
        self,
        latents: Float[Tensor, "b t p d"],
        actions: Float[Tensor, "b t a"] | None = None,
        *,
        steps: Int[Tensor, "b t"] | None = None,
        proprioception: Float[Tensor, "b t q"] | None = None,
    ) -> list[KeyValues]:
        """Return each layer's keys and values of latent steps whose actions are known.

        ``steps`` numbers the latent steps of each row, ``PADDING`` for those that are not there.
        """
        x, condition = self._embed(latents, actions, None, proprioception)
        if steps is None:
            steps = torch.arange(latents.shape[1], device=x.device)
        table = self.rotary(steps.clamp_min(0) if steps.ndim == 2 else steps)
        ids = steps.repeat_interleave(self.step_tokens, dim=-1)
        cached = []
        for block, modulation in zip(self.blocks, self._modulate(condition), strict=True):
            x, present = block(x, rotary=table, steps=ids, window=self.window, modulation=modulation)
            cached.append(present)
        return cached

    def next(
        self,
        latents: Float[Tensor, "r p d"],
        actions: Float[Tensor, "r a"],
        table: Rotary,
        pasts: Sequence[Past],
        proprioception: Float[Tensor, "r q"] | None = None,
    ) -> tuple[Float[Tensor, "r p d"], list[KeyValues]]:
        """Predict the latent after one latent step from what each layer kept of the past.

        Returns:
            The prediction, without the latent norm, and each layer's ``own`` cache with this step in it.
        """
        measured = None if proprioception is None else proprioception.unsqueeze(1)
        x, condition = self._embed(latents.unsqueeze(1), actions.unsqueeze(1), None, measured)
        grown = []
        for block, modulation, past in zip(self.blocks, self._modulate(condition), pasts, strict=True):
            x, own = block(x, rotary=table, past=past, modulation=modulation)
            grown.append(own)
        return self._read(x).squeeze(1), grown

    def rotary(self, steps: Int[Tensor, "*b t"]) -> Rotary:
        """Return the rotation of every token of latent steps at absolute positions ``steps``."""
        assert isinstance(self.places, Tensor)
        time = self.places.new_zeros(*steps.shape, 1, 3)
        time[..., 0] = steps.unsqueeze(-1)
        return rotary((time + self.places).flatten(-3, -2), self.head_dim, self.rope)

    def _embed(
        self, latents: Tensor, actions: Tensor | None, known: Tensor | None, proprioception: Tensor | None
    ) -> tuple[Float[Tensor, "b n width"], Float[Tensor, "b t width"] | None]:
        """Return the tokens of all steps and, for AdaLN, the condition of each."""
        dtype, shape = self.proj.weight.dtype, latents.shape[:2]
        x = self.embed(latents.to(dtype))
        given = [_or_null(self.action_embed, self.null_action, actions, shape, known)]
        if self.proprioception_dim:
            null = self.null_proprioception
            measured = None if proprioception is None else proprioception.isfinite().all(dim=-1)
            given.append(_or_null(self.proprioception_embed, null, proprioception, shape, measured))
        if self.conditioning == "adaln":
            return x.flatten(1, 2), F.silu(sum(given[1:], given[0]))
        extra = torch.stack(given, dim=2).to(x.dtype)
        return torch.cat([extra, x], dim=2).flatten(1, 2), None

    def _modulate(self, condition: Tensor | None) -> list[Modulation]:
        if self.modulations is None or condition is None:
            return [PLAIN] * len(self.blocks)
        return [modulation(condition) for modulation in self.modulations]

    def _read(self, x: Float[Tensor, "b n width"]) -> Float[Tensor, "b t p d"]:
        """Return the predictions of the latent tokens."""
        return self.proj(self.norm(x.unflatten(1, (-1, self.step_tokens))[:, :, self.extra :]))


def _check_kinematics(kinematics: str, proprioception_dim: int, action_dim: int) -> None:
    if kinematics not in KINEMATICS:
        raise ValueError(f"kinematics must be {', '.join(KINEMATICS)} or None, got {kinematics!r}")
    if proprioception_dim != POSE or action_dim % POSE:
        raise ValueError(
            f"kinematics={kinematics} needs proprioception and actions of {POSE} numbers (x, y, z, three "
            f"angles, gripper), got proprioception_dim={proprioception_dim} and action blocks of {action_dim}"
        )


def _embedding(width: int, dim: int, conditioning: str) -> nn.Module:
    """Return a linear map to a token, or a small MLP to a condition."""
    if conditioning == "tokens":
        return Linear(width, dim)
    return nn.Sequential(Linear(width, dim), nn.SiLU(), Linear(dim, dim))


def _or_null(
    embed: nn.Module, null: Tensor, given: Tensor | None, shape: torch.Size, known: Tensor | None
) -> Float[Tensor, "b t d"]:
    """Embed what is given; the learned null where it is left out."""
    if given is None:
        return null.expand(*shape, -1)
    if known is None:
        return embed(given.to(null.dtype))
    seen = known.unsqueeze(-1)
    out = embed(torch.where(seen, given, 0).to(null.dtype))  # what stands in place of the unknown may be NaN
    return torch.where(seen, out, null.to(out.dtype))
