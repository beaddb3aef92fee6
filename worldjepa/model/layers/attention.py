"""Multi-head attention with latent-step visibility, a window and a key-value cache.

What a token may see is decided by latent steps alone: step i sees steps i-window+1 .. i (``window=None``:
all earlier ones), in every layer. Because the rule never looks at where the input was cut, the keys and
values of past steps can be kept (``cache.py``) and reused exactly.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from worldjepa.model.layers.cache import KeyValues, Past
from worldjepa.model.layers.linear import Linear
from worldjepa.model.layers.mixing import attend
from worldjepa.model.layers.rope import Rotary, rotate

PADDING = -1  # step id of a token that nobody sees


class Attention(nn.Module):
    """Self-attention of the tokens given, and of these to the tokens in a cache."""

    def __init__(self, dim: int, num_heads: int, *, qkv_bias: bool = True):
        super().__init__()
        if dim % num_heads or dim // num_heads % 2:
            raise ValueError(f"dim={dim} must split into num_heads={num_heads} heads of even width")
        self.num_heads = num_heads
        self.qkv = Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = Linear(dim, dim)

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
    ) -> tuple[Float[Tensor, "b n d"], KeyValues]:
        """Attend; return the output and the keys and values of ``x`` to append to a cache.

        Args:
            x: tokens.
            rotary: rotation of each token; cached keys are rotated already, so positions are absolute.
            steps: latent step of each token; None lets every token see every other one.
            window: how many latent steps are seen, the token's own included.
            places: where given, tokens see only tokens of the same place (attention along time).
            parts: lengths of stretches of tokens that see only themselves: several sequences, such as those
                of different masks, packed one after the other to share the linear maps. Empty: one sequence.
            past: what tokens of one latent step see beside themselves; then ``steps``, ``window``, ``places``
                and ``parts`` are left out.
        """
        if past is not None:
            return self._forward_cached(x, rotary, past)
        q, k, v = self._heads(x, rotary)
        lengths, mixed, start = parts or (x.shape[1],), [], 0
        # split, not sliced: its backward pass joins the gradients, a slice's fills the rest with zeros
        stretches = zip(*(tokens.split(lengths, dim=2) for tokens in (q, k, v)), strict=True)
        for queries, keys, values in stretches:
            cut = slice(start, start + queries.shape[2])
            mask = _mask(_cut(steps, cut), window, _cut(places, cut))
            mixed.append(attend(queries, keys, values, mask).transpose(1, 2))
            start = cut.stop
        mixed = torch.cat(mixed, dim=1) if len(mixed) > 1 else mixed[0]
        return self.proj(mixed.flatten(2)), KeyValues.of(k.transpose(0, 1), v.transpose(0, 1))

    def _forward_cached(self, x: Tensor, rotary: Rotary | None, past: Past) -> tuple[Tensor, KeyValues]:
        q, k, v = self._heads(x, rotary, heads_first=True)
        own = past.grown(k, v)
        mixed = _attend_past(q, past, own)
        return self.proj(mixed.permute(1, 2, 0, 3).flatten(2)), own

    def _heads(
        self, x: Tensor, rotary: Rotary | None, heads_first: bool = False
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Project to queries, keys and values, ``[b heads n dh]``, and rotate the first two together."""
        qkv = self.qkv(x).unflatten(-1, (3, self.num_heads, -1))
        qkv = qkv.permute(2, 3, 0, 1, 4) if heads_first else qkv.permute(2, 0, 3, 1, 4)
        if x.device.type == "cpu":
            qkv = qkv.contiguous()  # this copy is cheap; strided products, and copies before bmm, are not
        if rotary is None:
            q, k, v = qkv.unbind(0)
            return q, k, v
        if heads_first:
            rotary = Rotary(rotary.cos.transpose(0, 1), rotary.sin.transpose(0, 1))
        turned, v = qkv.split([2, 1])
        q, k = rotate(turned, rotary.to(turned.dtype)).unbind(0)
        return q, k, v[0]


def _cut(ids: Tensor | None, cut: slice) -> Tensor | None:
    return None if ids is None else ids[..., cut]


def _mask(steps: Tensor | None, window: int | None, places: Tensor | None) -> Tensor | None:
    """Return which keys each query sees, None where it is every one."""
    mask = None if steps is None else visible(steps, steps, window)
    if places is not None:
        same = (places.unsqueeze(-1) == places.unsqueeze(-2)).unsqueeze(-3)
        mask = same if mask is None else mask & same
    return mask


def visible(
    query_steps: Int[Tensor, "*b n"], key_steps: Int[Tensor, "*b m"], window: int | None
) -> Bool[Tensor, "*b 1 n m"]:
    """Return which keys each query sees: no later step, none older than the window, no padding.

    Padding sees padding: a row that saw nothing would be NaN, and NaN spreads through products with zero.
    """
    gap = query_steps.unsqueeze(-1) - key_steps.unsqueeze(-2)
    seen = (gap >= 0) & ((key_steps != PADDING).unsqueeze(-2) | (query_steps == PADDING).unsqueeze(-1))
    if window is not None:
        seen &= gap < window
    return seen.unsqueeze(-3)


def _attend_past(
    q: Float[Tensor, "heads r n dh"], past: Past, own: KeyValues
) -> Float[Tensor, "heads r n dh"]:
    """Attend to a shared past, if there is one, and to the queries' own; all see all of it, or all before."""
    q = q * q.shape[-1] ** -0.5
    own_scores = q @ own.keys.transpose(-1, -2)
    if past.causal:
        n, m = own_scores.shape[-2:]
        later = torch.ones(n, m, dtype=torch.bool, device=q.device).triu(m - n + 1)
        own_scores = own_scores.masked_fill(later, torch.finfo(own_scores.dtype).min)
    if past.shared is None:
        return own_scores.softmax(dim=-1) @ own.values
    rows, n = past.shared.keys.shape[1], q.shape[2]
    grouped = q.unflatten(1, (rows, -1)).flatten(2, 3)  # [heads b (s n) dh], a view
    scores = grouped @ past.shared.keys.transpose(-1, -2)
    if past.valid is not None:
        scores = scores.masked_fill(~past.valid.unsqueeze(1), torch.finfo(scores.dtype).min)
    scores = scores.unflatten(2, (-1, n)).flatten(1, 2)
    weights = torch.cat([scores, own_scores], dim=-1).softmax(dim=-1)
    theirs, mine = weights.split([scores.shape[-1], own_scores.shape[-1]], dim=-1)
    mixed = theirs.unflatten(1, (rows, -1)).flatten(2, 3) @ past.shared.values
    return mixed.view_as(q) + mine @ own.values
