"""The transformer of IRIS (arXiv:2209.00588, section 2.2): tokens and actions to the tokens that follow.

The sequence is the tokens of a frame, the action that leaves it, the tokens of the next frame, and so on;
each token is predicted from all before it. So a latent step is predicted token by token: the likeliest one
each time, where the paper draws, for plans to be a function of their actions. Tokens go in as their codes and
come out as codes, which makes of it one more predictor of latents.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from worldjepa.model.iris.tokenizer import Codebook
from worldjepa.model.layers.attention import PADDING
from worldjepa.model.layers.block import NORM_EPS, Block, init_transformer
from worldjepa.model.layers.cache import KeyValues, Past
from worldjepa.model.layers.linear import Linear
from worldjepa.model.layers.rope import Rotary, grid_positions, rotary
from worldjepa.model.step_predictor import StepPredictor
from worldjepa.types import Grid


class CodeScores(nn.Module):
    """Score every code as the next token by where it lies, not by its number.

    Codes that lie together share what is learnt, and one that begins anew elsewhere has the scores of its new
    place: with weights for each number, what was learnt was lost whenever the codes moved. ``latent_dim`` is
    the width of codes, ``dim`` that of the transformer.
    """

    def __init__(self, latent_dim: int, dim: int):
        super().__init__()
        self.fc, self.out = Linear(latent_dim, dim), Linear(dim, dim)

    def forward(
        self, x: Float[Tensor, "*b width"], codes: Float[Tensor, "codes d"]
    ) -> Float[Tensor, "*b codes"]:
        """Return the logits of all codes."""
        keys = self.out(self.fc(codes.to(self.fc.weight.dtype), gelu=True))
        return x @ keys.to(x.dtype).T / math.sqrt(x.shape[-1])


class TokenDynamics(StepPredictor):
    """Predict the tokens of latent i+1 from those up to i and the actions that leave them.

    Args:
        codebook: the tokenizer's.
        action_dim: width of an action block.
        grid: rows and columns of a latent step's tokens.
        dim, depth, num_heads, mlp_ratio: of the transformer.
    """

    places: Tensor

    def __init__(
        self,
        codebook: Codebook,
        *,
        action_dim: int,
        grid: tuple[int, int],
        dim: int = 192,
        depth: int = 6,
        num_heads: int = 6,
        mlp_ratio: float = 4.0,
    ):
        super().__init__()
        latent_dim = codebook.codes.shape[1]
        self.codebook, self.latent_dim, self.action_dim = codebook, latent_dim, action_dim
        self.proprioception_dim, self.window = 0, None
        self.grid, self.head_dim = Grid(1, *grid), dim // num_heads
        self.embed = Linear(latent_dim, dim)
        self.action_embed = Linear(action_dim, dim)
        self.null_action = nn.Parameter(torch.empty(dim))
        self.slots = nn.Parameter(torch.empty(self.step_tokens, dim))  # where in its step a token stands
        self.blocks = nn.ModuleList(Block(dim, num_heads, mlp_ratio=mlp_ratio) for _ in range(depth))
        self.norm = nn.LayerNorm(dim, eps=NORM_EPS)
        self.head = CodeScores(latent_dim, dim)
        positions = torch.cat([grid_positions(self.grid), torch.zeros(1, 3)])
        self.register_buffer("places", positions, persistent=False)
        init_transformer(self, self.blocks)
        for parameter in (self.null_action, self.slots):
            nn.init.normal_(parameter, std=0.02)
        for layer in (self.head.fc, self.head.out):  # from the codes' distances on
            layer.reset_parameters()

    @property
    def step_tokens(self) -> int:
        """Tokens of a latent step: its frame's and the action."""
        return self.grid.p + 1

    def forward(
        self,
        latents: Float[Tensor, "b t p d"],
        actions: Float[Tensor, "b l a"],
        *,
        known: Bool[Tensor, "b l"] | None = None,
    ) -> Float[Tensor, "b l p codes"]:
        """Return the logits of the tokens of all latent steps but the first, with teacher forcing.

        Args:
            latents: codes of ``t`` = ``l`` + 1 latent steps.
            actions: scaled action blocks between them.
            known: where False, the null action stands in for the action.
        """
        p, length = self.grid.p, actions.shape[1]
        last = self.embed(latents[:, -1].to(self.embed.weight.dtype)) + self.slots[:p]
        x = torch.cat([self._embed(latents[:, :-1], actions, known), last], dim=1)
        order = torch.arange(x.shape[1], device=x.device)
        table = self.rotary(order[: length + 1]).cut(slice(len(order)))
        for block in self.blocks:
            x, _ = block(x, rotary=table, steps=order)
        said = x[:, p:].unflatten(1, (length, p + 1))[:, :, :p]  # an action says the next step's first token
        codes = self.codebook.codes.clone()  # they move before gradients are taken
        return self.head(self.norm(said), codes)

    def context(
        self,
        latents: Float[Tensor, "b t p d"],
        actions: Float[Tensor, "b t a"] | None = None,
        *,
        steps: Int[Tensor, "b t"] | None = None,
        proprioception: Float[Tensor, "b t q"] | None = None,
    ) -> list[KeyValues]:
        """Return each layer's keys and values of latent steps (see ``StepPredictor``)."""
        x = self._embed(latents, actions)
        numbers = torch.arange(latents.shape[1], device=x.device) if steps is None else steps
        order = numbers.unsqueeze(-1) * self.step_tokens + torch.arange(self.step_tokens, device=x.device)
        order = order.masked_fill((numbers == PADDING).unsqueeze(-1), PADDING).flatten(-2)
        table, cached = self.rotary(numbers.clamp_min(0)), []
        for block in self.blocks:
            x, present = block(x, rotary=table, steps=order)
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
        """Predict the next latent step token by token (see ``StepPredictor``)."""
        x, grown = self._embed(latents.unsqueeze(1), actions.unsqueeze(1)), []
        for block, past in zip(self.blocks, pasts, strict=True):
            x, own = block(x, rotary=table, past=past._replace(causal=True))
            grown.append(own)
        return self._generate(x[:, -1], table, pasts, list(grown)), grown

    def _generate(
        self, x: Float[Tensor, "r width"], table: Rotary, pasts: Sequence[Past], grown: list[KeyValues]
    ) -> Float[Tensor, "r p d"]:
        """Return the likeliest tokens, one after the other, after an action that came out as ``x``.

        What they add to the caches is dropped: with the next action they are read again, all at once.
        """
        ahead = table.then(rotary(self.places.new_tensor([[1.0, 0.0, 0.0]]), self.head_dim))
        found: list[Tensor] = []
        for slot in range(self.grid.p):
            scores = self.head(self.norm(x), self.codebook.codes)
            found.append(self.codebook(scores.argmax(dim=-1)))
            if slot + 1 == self.grid.p:
                break
            token = (self.embed(found[-1].to(x.dtype)) + self.slots[slot]).unsqueeze(1)
            here = ahead.cut(slice(slot, slot + 1))
            for index, (block, past) in enumerate(zip(self.blocks, pasts, strict=True)):
                token, grown[index] = block(token, rotary=here, past=past._replace(own=grown[index]))
            x = token[:, 0]
        return torch.stack(found, dim=1)

    def rotary(self, steps: Int[Tensor, "*b t"]) -> Rotary:
        """Return the rotation of every token of latent steps at absolute positions ``steps``."""
        time = self.places.new_zeros(*steps.shape, 1, 3)
        time[..., 0] = steps.unsqueeze(-1)
        return rotary((time + self.places).flatten(-3, -2), self.head_dim)

    def _embed(
        self, latents: Tensor, actions: Tensor | None, known: Tensor | None = None
    ) -> Float[Tensor, "b n width"]:
        """Return the tokens of all steps, each followed by its action."""
        dtype, shape = self.embed.weight.dtype, latents.shape[:2]
        null = self.null_action.expand(*shape, -1)
        given = null if actions is None else self.action_embed(actions.to(dtype))
        if known is not None:
            given = torch.where(known.unsqueeze(-1), given, null.to(given.dtype))
        tokens = torch.cat([self.embed(latents.to(dtype)), given.unsqueeze(2)], dim=2)
        return (tokens + self.slots).flatten(1, 2)
