"""What ``rollout`` and its kin refuse, in words: which shapes came, which were expected, what to pass."""

from __future__ import annotations

import torch
from torch import Tensor

from worldjepa.model.step_predictor import StepPredictor


def check_trained(predictor: StepPredictor | None, what: str) -> StepPredictor:
    """Return the predictor that ``what`` needs; raise ``ValueError`` if the model has none."""
    if predictor is None:
        raise ValueError(
            f"{what} needs a model trained with actions, and this one was trained from video alone; "
            "train one from episodes (python -m worldjepa.train +experiment=two_rooms, or "
            "+experiment=gym env.id=ID model.frozen=RUN to keep this encoder). encode(frames) works"
        )
    return predictor


def check_actions(actions: Tensor, rows: int, predictor: StepPredictor) -> None:
    """Raise ``ValueError`` unless actions are ``[b l a]`` or ``[b s l a]`` of a context of ``rows`` rows."""
    check_tensors(actions=actions)
    if actions.ndim not in (3, 4):
        raise ValueError(
            f"actions must be [b l a], or [b s l a] for s candidates, got {tuple(actions.shape)}"
        )
    _check_width("actions", actions, predictor)
    if actions.shape[0] != rows:
        raise ValueError(
            f"actions {tuple(actions.shape)} are of {actions.shape[0]} rows and latents of {rows}; several "
            f"candidates of one context are [b s l a] with b={rows}"
        )
    if 0 in actions.shape:
        raise ValueError(f"actions must hold at least one candidate and one step, got {tuple(actions.shape)}")
    _check_finite("actions", actions)


def check_context(
    latents: Tensor,
    past_actions: Tensor | None,
    lengths: Tensor | None,
    proprioception: Tensor | None,
    predictor: StepPredictor,
) -> None:
    """Raise ``ValueError`` if a context does not fit the predictor, or its parts each other."""
    p, d = predictor.grid.p, predictor.latent_dim
    check_tensors(latents=latents, past_actions=past_actions, lengths=lengths, proprioception=proprioception)
    if not latents.is_floating_point():
        raise ValueError(f"latents must be floating point, got {latents.dtype}; encode(frames) gives them")
    if latents.ndim != 4 or latents.shape[2:] != (p, d) or 0 in latents.shape:
        raise ValueError(
            f"latents must be [b t p d] with p={p}, d={d}, got {tuple(latents.shape)}; "
            "encode(frames) gives them"
        )
    b, t = latents.shape[:2]
    if past_actions is not None:
        if past_actions.shape[:-1] != (b, t - 1):
            raise ValueError(
                f"past_actions must be [b t-1 a] = ({b}, {t - 1}, {predictor.action_dim}), one block between "
                f"two latents of {tuple(latents.shape)}, got {tuple(past_actions.shape)}"
            )
        _check_width("past_actions", past_actions, predictor)
        _check_finite("past_actions", past_actions)
    if lengths is not None:
        _check_lengths(lengths, b, t)
    if proprioception is not None:
        _check_measured(proprioception, (b, t), "[b t q]", predictor)


def check_action(action: Tensor, rows: int, predictor: StepPredictor) -> None:
    """Raise ``ValueError`` unless ``action`` is one action block for each of ``rows`` rows."""
    expected = (rows, predictor.action_dim)
    check_tensors(action=action)
    if action.shape != expected:
        raise ValueError(f"action must be [b a] = {expected}, got {tuple(action.shape)}")


def check_observed(
    latent: Tensor, pending: Tensor, proprioception: Tensor | None, predictor: StepPredictor
) -> None:
    """Raise ``ValueError`` unless ``latent`` can stand in the place of ``pending``, and what was measured."""
    check_tensors(latent=latent, proprioception=proprioception)
    if latent.shape != pending.shape:
        raise ValueError(
            f"latent must be [b p d] = {tuple(pending.shape)}, got {tuple(latent.shape)}; "
            "encode(frames)[:, -1] gives one"
        )
    if proprioception is not None:
        _check_measured(proprioception, (len(pending),), "[b q]", predictor)


def check_rows(rows: Tensor, latents: Tensor, batch: int) -> None:
    """Raise ``ValueError`` unless ``rows`` are different rows of the batch with one context each."""
    check_tensors(rows=rows, latents=latents)
    if rows.ndim != 1 or rows.dtype != torch.long or len(rows) != len(latents):
        raise ValueError(
            f"rows must be [r] of dtype int64 with latents [r t p d], got {rows.dtype} {tuple(rows.shape)} "
            f"and {tuple(latents.shape)}; a mask becomes rows by mask.nonzero()[:, 0]"
        )
    if not _looking() or not len(rows):
        return
    if int(rows.min()) < 0 or int(rows.max()) >= batch or len(rows.unique()) < len(rows):
        raise ValueError(f"rows must be different numbers from 0 to {batch - 1}, got {rows.tolist()}")


def check_tensors(**values: object) -> None:
    """Raise ``ValueError`` unless each of ``values`` is a tensor, or left out."""
    for name, value in values.items():
        if value is not None and not isinstance(value, Tensor):
            raise ValueError(
                f"{name} must be a torch tensor, got {type(value).__name__}; torch.as_tensor makes one of it"
            )


def _check_lengths(lengths: Tensor, b: int, t: int) -> None:
    if lengths.shape != (b,) or lengths.is_floating_point():
        raise ValueError(
            f"lengths must be whole numbers [b] = ({b},), got {lengths.dtype} {tuple(lengths.shape)}"
        )
    if _looking() and not bool(((lengths >= 1) & (lengths <= t)).all()):
        raise ValueError(f"lengths must lie in 1..{t}, the latents given, got {lengths.tolist()}")


def _check_measured(values: Tensor, rows: tuple[int, ...], axes: str, predictor: StepPredictor) -> None:
    q = predictor.proprioception_dim
    if not q or values.shape != (*rows, q):
        expected = f"{axes} = {(*rows, q)}" if q else "left out: the model was trained without it"
        raise ValueError(f"proprioception must be {expected}, got {tuple(values.shape)}")


def _check_width(name: str, actions: Tensor, predictor: StepPredictor) -> None:
    if actions.shape[-1] != predictor.action_dim:
        raise ValueError(
            f"{name} have width {actions.shape[-1]} and the model's action blocks {predictor.action_dim} "
            f"(action_block x action width, step-major), got {tuple(actions.shape)}"
        )


def _check_finite(name: str, actions: Tensor) -> None:
    if _looking() and not bool(actions.isfinite().all()):
        raise ValueError(f"{name} hold values that are not finite (NaN or infinite); mask or clip them first")


def _looking() -> bool:
    """Return whether values may be looked at: not while a graph is traced."""
    return not (torch.compiler.is_compiling() or torch.compiler.is_exporting())
