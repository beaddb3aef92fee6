"""Prediction from prediction: one context encoded once, any number of futures.

An action conditions the latent step it leaves. So all steps of a context but the last have their actions, and
their keys and values are computed once (``begin``); the last one is held pending until its action is known.
Then ``advance`` predicts one step, and ``futures`` many for several candidates that share the context. All
are pure.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from worldjepa.model.kinematics import poses_ahead
from worldjepa.model.layers.attention import PADDING
from worldjepa.model.layers.cache import KeyValues, Past
from worldjepa.model.step_predictor import StepPredictor

Norm = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class State:
    """Where a rollout of ``b`` rows stands.

    ``past``: what each layer keeps of the latent steps before the pending one, within the window.
    ``pending``: the last latent, whose action is still to come. ``position``: its number in the longest row.
    ``first [b]``: at which of these numbers a row begins (None: all at 0). ``proprioception``: measured with
    the pending latent or carried on to it by its kinematics, NaN in rows where it is not known.
    """

    past: tuple[KeyValues | None, ...]
    pending: Float[Tensor, "b p d"]
    position: int
    first: Int[Tensor, " b"] | None = None
    proprioception: Float[Tensor, "b q"] | None = None

    def seen(self, latent: Float[Tensor, "b p d"], proprioception: Float[Tensor, "b q"] | None) -> State:
        """Return the state with an observation as the pending latent."""
        measured = self.proprioception if proprioception is None else proprioception
        return replace(self, pending=latent.to(self.pending.dtype), proprioception=measured)


def begin(
    predictor: StepPredictor,
    latents: Float[Tensor, "b t p d"],
    past_actions: Float[Tensor, "b l a"] | None = None,
    *,
    lengths: Int[Tensor, " b"] | None = None,
    proprioception: Float[Tensor, "b t q"] | None = None,
) -> State:
    """Read a context of ``t`` latents.

    Args:
        predictor: the transformer.
        latents: the context, oldest first.
        past_actions: the ``t - 1`` scaled action blocks between them; None: null actions.
        lengths: how many last latents of each row are real (None: all).
        proprioception: measured at each latent.
    """
    t = latents.shape[1]
    first = None if lengths is None else t - lengths.to(latents.device, torch.long)
    measured = None if proprioception is None else proprioception[:, -1]
    if measured is None and predictor.proprioception_dim:
        measured = latents.new_full((len(latents), predictor.proprioception_dim), math.nan)
    past: tuple[KeyValues | None, ...] = (None,) * len(predictor.blocks)
    if t > 1 and predictor.window != 1:
        steps, known = None, latents[:, :-1]
        if first is not None:
            steps = torch.arange(t - 1, device=latents.device) - first.unsqueeze(1)
            known = known.masked_fill((steps < 0)[..., None, None], 0)  # NaN would spread
            steps = steps.clamp_min(PADDING)
        before = None if proprioception is None else proprioception[:, :-1]
        cached = predictor.context(known, past_actions, steps=steps, proprioception=before)
        seen = (_within(layer, predictor) for layer in cached)
        past = tuple(None if layer is None else layer.compact() for layer in seen)
    return State(past, latents[:, -1], t - 1, first, measured)


def advance(
    predictor: StepPredictor,
    state: State,
    actions: Float[Tensor, "b a"],
    norm: Norm,
    proprioception: Float[Tensor, "b q"] | None = None,
) -> tuple[State, Float[Tensor, "b p d"]]:
    """Predict the latent after the pending one under scaled ``actions``; it is the next pending one.

    ``proprioception`` goes with the predicted latent (None: it is not known).
    """
    valid = _valid(state, predictor)
    pasts = [Past(shared=layer, valid=valid) for layer in state.past]
    table = predictor.rotary(_positions(state, 1))
    prediction, own = predictor.next(state.pending, actions, table, pasts, state.proprioception)
    latent = norm(prediction).to(state.pending.dtype)
    past = tuple(_joined(before, now, predictor) for before, now in zip(state.past, own, strict=True))
    if proprioception is None and state.proprioception is not None:
        proprioception = torch.full_like(state.proprioception, math.nan)
    return State(past, latent, state.position + 1, state.first, proprioception), latent


def futures(
    predictor: StepPredictor,
    state: State,
    actions: Float[Tensor, "b s l a"],
    norm: Norm,
    proprioception: Float[Tensor, "b s l q"] | None = None,
) -> Float[Tensor, "b s l p d"]:
    """Predict ``l`` latent steps for each of ``s`` candidates, in place where no gradient is wanted.

    ``proprioception`` goes with the predicted latents (None: it is not known).
    """
    b, s, horizon, _ = actions.shape
    q, window, valid = predictor.step_tokens, predictor.window, _valid(state, predictor)
    room = 0 if torch.is_grad_enabled() else horizon * q
    tables = predictor.rotary(_positions(state, horizon))
    latents = state.pending.repeat_interleave(s, dim=0)
    measured = None if state.proprioception is None else state.proprioception.repeat_interleave(s, dim=0)
    own: Sequence[KeyValues | None] = [None] * len(predictor.blocks)
    found = []
    for step in range(horizon):
        kept = None if window is None else max(0, window - 1 - step) * q
        seen = (
            valid if valid is None or kept is None else valid[:, valid.shape[1] - min(kept, valid.shape[1]) :]
        )
        pasts = [
            Past(_last(layer, kept), _within(mine, predictor), seen, room)
            for layer, mine in zip(state.past, own, strict=True)
        ]
        table = tables.cut(slice(step * q, (step + 1) * q)).for_each(s)
        prediction, grown = predictor.next(latents, actions[:, :, step].flatten(0, 1), table, pasts, measured)
        own, measured = grown, None if proprioception is None else proprioception[:, :, step].flatten(0, 1)
        latents = norm(prediction).to(latents.dtype)
        found.append(latents)
    return torch.stack(found, dim=1).unflatten(0, (b, s))


def carried(
    predictor: StepPredictor, state: State, actions: Float[Tensor, "b s l a"]
) -> Float[Tensor, "b s l q"] | None:
    """Return the proprioception that actions (not scaled) lead to, None where it is not known how."""
    if predictor.kinematics is None or state.proprioception is None:
        return None
    return poses_ahead(state.proprioception, actions)


def predict_futures(
    predictor: StepPredictor,
    latents: Float[Tensor, "b t p d"],
    actions: Float[Tensor, "b s l a"],
    *,
    norm: Norm,
    past_actions: Float[Tensor, "b _ a"] | None = None,
    lengths: Int[Tensor, " b"] | None = None,
    proprioception: Float[Tensor, "b t q"] | None = None,
    ahead: Float[Tensor, "b s l q"] | None = None,
) -> Float[Tensor, "b s l p d"]:
    """Read a context and predict what follows under scaled actions (``begin``, then ``futures``).

    ``ahead`` is the proprioception that goes with the predicted latents.
    """
    state = begin(predictor, latents, past_actions, lengths=lengths, proprioception=proprioception)
    return futures(predictor, state, actions, norm, ahead)


def restart(predictor: StepPredictor, state: State, rows: Int[Tensor, " r"], fresh: State) -> State:
    """Return ``state`` with rows ``rows`` standing where ``fresh`` stands.

    What lies before the beginnings of all rows is dropped: it would grow with every restart.
    """
    position = max(state.position, fresh.position)
    first, theirs = (_first(one) + (position - one.position) for one in (state, fresh))
    layers = zip(state.past, fresh.past, strict=True)
    past = tuple(_replaced(old, rows, new, len(state.pending)) for old, new in layers)
    measured = state.proprioception
    if measured is not None and fresh.proprioception is not None:
        measured = measured.index_copy(0, rows, fresh.proprioception)
    pending = state.pending.index_copy(0, rows, fresh.pending.to(state.pending.dtype))
    begun = first.index_copy(0, rows, theirs)
    kept = (position - int(begun.min())) * predictor.step_tokens
    past = tuple(None if layer is None else _last(layer, kept) for layer in past)
    return State(past, pending, position, begun, measured)


def _first(state: State) -> Int[Tensor, " b"]:
    if state.first is not None:
        return state.first
    return torch.zeros(len(state.pending), dtype=torch.long, device=state.pending.device)


def _positions(state: State, count: int) -> Int[Tensor, "*b l"]:
    """Return the absolute positions of the pending latent step and those after, by row if they differ."""
    numbers = torch.arange(state.position, state.position + count, device=state.pending.device)
    return numbers if state.first is None else numbers - state.first.unsqueeze(1)


def _valid(state: State, predictor: StepPredictor) -> Bool[Tensor, "b m"] | None:
    """Return which of the tokens kept of the past a row really had."""
    kept = next((layer.keys.shape[2] for layer in state.past if layer is not None), 0)
    if state.first is None or not kept:
        return None
    numbers = torch.arange(
        state.position - kept // predictor.step_tokens, state.position, device=state.first.device
    )
    return (numbers >= state.first.unsqueeze(1)).repeat_interleave(predictor.step_tokens, dim=1)


def _last(layer: KeyValues | None, tokens: int | None) -> KeyValues | None:
    """Return the last ``tokens`` of what is kept (None: all of it), or None if nothing is left."""
    if layer is None or tokens is None:
        return layer
    return layer.last(tokens) if tokens else None


def _within(layer: KeyValues | None, predictor: StepPredictor) -> KeyValues | None:
    """Return of what is kept the part that the next step sees: the window less that step."""
    return _last(layer, None if predictor.window is None else (predictor.window - 1) * predictor.step_tokens)


def _joined(before: KeyValues | None, now: KeyValues, predictor: StepPredictor) -> KeyValues | None:
    return _within(now if before is None else before.append(now.keys, now.values), predictor)


def _replaced(old: KeyValues | None, rows: Tensor, new: KeyValues | None, batch: int) -> KeyValues | None:
    """Put the rows of ``new`` into ``old``; the shorter of the two begins with padding."""
    if new is None:
        return old  # the rows' part of it lies before they begin
    have = 0 if old is None else old.keys.shape[2]
    length = max(have, new.keys.shape[2])
    heads, _, _, width = new.keys.shape
    nothing = new.keys.new_zeros(heads, batch, 0, width)
    before = (nothing, nothing) if old is None else (old.keys, old.values)
    pairs = zip(before, (new.keys, new.values), strict=True)
    keys, values = (_padded(a, length).index_copy(1, rows, _padded(b, length).to(a.dtype)) for a, b in pairs)
    return KeyValues.of(keys, values)


def _padded(x: Float[Tensor, "heads r m dh"], length: int) -> Float[Tensor, "heads r length dh"]:
    return F.pad(x, (0, 0, length - x.shape[2], 0))
