"""Softmax attention over given queries, keys and values, by the faster of equal ways for what is at hand.

On a CPU that multiplies bf16 natively, plain products with a softmax between beat
``scaled_dot_product_attention`` in bf16, forward and backward, as long as the scores stay in a cache close to
the core: so they are made for a few heads at a time, each result written where it belongs. Where no gradient
is wanted and the CPU has AMX, ``scaled_dot_product_attention`` is the faster one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from worldjepa.model.layers.precision import amx_products, bf16_products

CACHED_SCORES = 1 << 21  # scores made at a time
PLAIN_SCORES = 1 << 24  # a head with more is left to SDPA, which keeps no scores for the backward pass


def attend(
    q: Float[Tensor, "b heads n dh"],
    k: Float[Tensor, "b heads m dh"],
    v: Float[Tensor, "b heads m dh"],
    mask: Tensor | None = None,
) -> Float[Tensor, "b heads n dh"]:
    """Mix values by the softmax of scaled products; ``mask`` tells which keys a query sees (None: all)."""
    if not _plain(q, k):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    if mask is not None:
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
        # finite, so that a row that sees nothing stays free of NaN
        return scores.masked_fill(~mask, torch.finfo(scores.dtype).min).softmax(dim=-1) @ v
    if torch.is_grad_enabled() and any(x.requires_grad for x in (q, k, v)):
        return _HeadsInTurn.apply(q, k, v)
    if amx_products():
        return F.scaled_dot_product_attention(q, k, v)
    groups = _groups(q * q.shape[-1] ** -0.5, k, v)
    mixed = torch.cat([torch.bmm(torch.bmm(a, b.mT).softmax(dim=-1), c) for a, b, c in groups])
    return mixed.unflatten(0, q.shape[:2])


def _plain(q: Tensor, k: Tensor) -> bool:
    """Return whether plain products are the faster way."""
    if q.device.type != "cpu" or q.dtype != torch.bfloat16 or torch.compiler.is_compiling():
        return False
    return q.shape[-2] * k.shape[-2] <= PLAIN_SCORES and bf16_products()


class _HeadsInTurn(torch.autograd.Function):
    """Attention a few heads at a time; the weights are kept for the backward pass."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Return what each query mixes of the values."""
        q = q * q.shape[-1] ** -0.5
        mixed, weights = torch.empty_like(q, memory_format=torch.contiguous_format), []
        for a, b, c, out in _groups(q, k, v, mixed):
            weights.append(torch.bmm(a, b.mT).softmax(dim=-1))
            torch.bmm(weights[-1], c, out=out)
        ctx.save_for_backward(q, k, v, *weights)
        return mixed

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return the gradients of queries, keys and values."""
        q, k, v, *weights = ctx.saved_tensors
        dq, dk, dv = (torch.empty_like(x, memory_format=torch.contiguous_format) for x in (q, k, v))
        groups = zip(weights, _groups(q, k, v, gradient, dq, dk, dv), strict=True)
        for w, (a, b, c, g, da, db, dc) in groups:
            dc.copy_(torch.bmm(g.mT, w).mT)  # to turn w is dearer than to turn the result
            scores = torch.ops.aten._softmax_backward_data(torch.bmm(g, c.mT), w, -1, w.dtype)
            torch.bmm(scores, b, out=da)
            db.copy_(torch.bmm(a.mT, scores).mT)
        return dq.mul_(q.shape[-1] ** -0.5), dk, dv


def _groups(*tensors: Float[Tensor, "b heads _ _"]) -> zip[tuple[Tensor, ...]]:
    """Cut tensors into groups of heads, ``[g _ _]``, whose scores stay in the cache; views if they can be."""
    q, k = tensors[:2]
    size = max(1, CACHED_SCORES // (q.shape[2] * k.shape[2]))
    parts: Sequence[Sequence[Tensor]] = [x.flatten(0, 1).split(size) for x in tensors]
    return zip(*parts, strict=True)
