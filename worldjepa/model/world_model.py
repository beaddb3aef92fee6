"""The world model: one class to pretrain from video, to encode, and to predict.

A model holds its preprocessing: users pass frames as they come (uint8, any size) and actions in the
environment's units, and get latents as in training. What may be passed is checked here (``checks.py``), in
words, so that the signatures leave shapes open. ``p`` tokens a latent step: the patches of the grid, or one
pooled latent.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from worldjepa.hub import push
from worldjepa.model.action_predictor import ActionPredictor
from worldjepa.model.action_stats import ActionStats
from worldjepa.model.checks import (
    check_action,
    check_actions,
    check_context,
    check_observed,
    check_rows,
    check_trained,
)
from worldjepa.model.encoder import VideoEncoder, normalise_latents
from worldjepa.model.frames import FITS, as_unit_range, fit_frames, normalise_pixels, pieces
from worldjepa.model.frozen import FrozenEncoder
from worldjepa.model.iris.dynamics import TokenDynamics
from worldjepa.model.iris.tokenizer import FrameTokenizer
from worldjepa.model.predictor import MaskedPredictor
from worldjepa.model.pretrained import save_model
from worldjepa.model.rollout import State, advance, begin, carried, futures, restart

Policy = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Imagined:
    """A closed-loop rollout: ``actions[:, i]`` was chosen before ``latents[:, i]`` was predicted.

    ``heads`` holds what the model's heads say of the latents, by name.
    """

    latents: Float[Tensor, "b l p d"]
    actions: Float[Tensor, "b l a"]
    heads: dict[str, Tensor]


class WorldModel(nn.Module):
    """An encoder, its EMA target, and the predictors and heads trained with them.

    Args:
        encoder: the context encoder, which training moves; or a frozen one.
        target_encoder: its EMA copy, if there is one: then ``encode`` uses it.
        masked_predictor: the predictor of masked pretraining, if the model was trained so.
        predictor: the action predictor; without one, ``rollout`` and what follows from it are refused.
        heads: modules over the latents by name, such as ``reward``: ``heads["reward"](future)``.
        action_stats: mean and standard deviation of the training actions (left out: actions are not scaled).
        action_block: environment steps of a latent step.
        image_size: side in pixels that frames are brought to.
        fit: how frames of another shape are: ``crop`` (short side to ``image_size``, cropped at the centre)
            or ``squeeze`` (all of the frame, as environments' pictures are recorded).
        latent_norm: ``layer`` (LayerNorm without affine) or ``none``; applied to every latent handed out.

    ``facts`` is what is known of its training (``worldjepa.load`` fills it): plain data for the model card.
    """

    facts: Mapping[str, Any] = MappingProxyType({})

    def __init__(
        self,
        *,
        encoder: VideoEncoder | FrozenEncoder | FrameTokenizer,
        target_encoder: VideoEncoder | None = None,
        masked_predictor: MaskedPredictor | None = None,
        predictor: ActionPredictor | TokenDynamics | None = None,
        heads: Mapping[str, nn.Module] | None = None,
        action_stats: ActionStats | None = None,
        action_block: int = 1,
        image_size: int = 224,
        fit: str = "crop",
        latent_norm: str = "layer",
    ):
        super().__init__()
        if fit not in FITS:
            raise ValueError(f"fit must be one of {', '.join(FITS)}, got {fit!r}")
        if latent_norm not in ("layer", "none"):
            raise ValueError(f"latent_norm must be layer or none, got {latent_norm!r}")
        if predictor is not None and predictor.latent_dim != encoder.latent_dim:
            raise ValueError(
                f"the predictor's latent_dim={predictor.latent_dim} is not the encoder's {encoder.latent_dim}"
            )
        self.encoder, self.target_encoder, self.masked_predictor = encoder, target_encoder, masked_predictor
        self.predictor, self.heads, self.action_stats = predictor, nn.ModuleDict(heads or {}), action_stats
        self.action_block, self.image_size, self.fit = action_block, image_size, fit
        self.latent_norm = latent_norm
        if target_encoder is not None:
            target_encoder.requires_grad_(False)

    @property
    def device(self) -> torch.device:
        """The device of the parameters."""
        return next(self.parameters()).device

    def encode(self, frames: Shaped[Tensor, "..."]) -> Float[Tensor, "b t p d"]:
        """Encode clips into the latent space that predictions live in.

        Frames of another size are resized, antialiased, and cropped at the centre or squeezed as in training
        (``fit``).

        Args:
            frames: ``[b f c y x]``, whole numbers in 0..255 or float in [0, 1], on any device (they are moved
                to the model's); ``f`` = latent steps x ``encoder.frames_per_step``, oldest first.

        Raises:
            ValueError: another number of axes, dtype or range, or frames that do not fill latent steps.
        """
        encoder = self.encoder if self.target_encoder is None else self.target_encoder
        parts = pieces(self.prepare(frames))
        return self.normalise(torch.cat([encoder(part) for part in parts]))

    def prepare(self, frames: Shaped[Tensor, "..."]) -> Float[Tensor, "b f 3 side side"]:
        """Resize and normalise frames as in training (see ``encode`` for what may be passed)."""
        x = as_unit_range(frames).to(self.device, next(self.parameters()).dtype)
        return normalise_pixels(fit_frames(x, self.image_size, self.fit))

    def normalise(self, latents: Float[Tensor, "*b d"]) -> Float[Tensor, "*b d"]:
        """Apply the latent space's norm; every prediction passes through it."""
        return normalise_latents(latents, self.latent_norm)

    def rollout(
        self,
        latents: Shaped[Tensor, "..."],
        actions: Shaped[Tensor, "..."],
        *,
        past_actions: Shaped[Tensor, "..."] | None = None,
        lengths: Shaped[Tensor, "..."] | None = None,
        proprioception: Shaped[Tensor, "..."] | None = None,
    ) -> Float[Tensor, "..."]:
        """Predict the latents that follow a context under given actions.

        The context is read once for each row of ``b`` and shared by its candidates; a further step costs the
        same however many there were. No argument is changed; the result is differentiable in ``latents`` and
        ``actions``. Row independence and equality with ``start`` and ``step`` hold in eval mode.

        Args:
            latents: the context as ``encode`` gives it, oldest first.
            actions: action blocks in environment units, ``[b l a]``, or ``[b s l a]`` for ``s`` candidates a
                row; ``a`` = ``action_block`` x action width, step-major; one-hots for discrete actions.
            past_actions: the blocks that led from each latent of the context to the next; left out, the
                learned null action stands for them.
            lengths: how many last latents of each row are real, 1 to t (left out: all).
            proprioception: measured at each latent of the context, NaN where it was not; on predicted ones it
                is carried by the predictor's ``kinematics``, if it has any.

        Returns:
            The predicted latents, ``[b l p d]`` or ``[b s l p d]``, in the dtype of ``latents``.

        Raises:
            ValueError: the model has no action predictor, or an argument of another shape, width or range; it
                names both shapes.
        """
        check_trained(self.predictor, "rollout")
        state = self.start(latents, past_actions=past_actions, lengths=lengths, proprioception=proprioception)
        return self.futures(state, actions)

    def futures(self, state: State, actions: Shaped[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Predict what follows a context that ``start`` has read, under actions as ``rollout`` takes them.

        For many calls with one context, as a planner makes them: it is read once. ``state`` stays as it is.

        Raises:
            ValueError: actions of another shape, width or range.
        """
        predictor = check_trained(self.predictor, "futures")
        check_actions(actions, len(state.pending), predictor)
        candidates = actions if actions.ndim == 4 else actions.unsqueeze(1)
        ahead = carried(predictor, state, candidates)
        found = futures(predictor, state, self._scale(candidates), self.normalise, ahead)
        return found if actions.ndim == 4 else found.squeeze(1)

    def start(
        self,
        latents: Shaped[Tensor, "..."],
        *,
        past_actions: Shaped[Tensor, "..."] | None = None,
        lengths: Shaped[Tensor, "..."] | None = None,
        proprioception: Shaped[Tensor, "..."] | None = None,
    ) -> State:
        """Read a context to predict from step by step; arguments and errors are those of ``rollout``."""
        predictor = check_trained(self.predictor, "start")
        check_context(latents, past_actions, lengths, proprioception, predictor)
        past = None if past_actions is None else self._scale(past_actions)
        return begin(predictor, latents, past, lengths=lengths, proprioception=proprioception)

    def step(self, state: State, action: Shaped[Tensor, "..."]) -> tuple[State, Float[Tensor, "b p d"]]:
        """Predict the next latent under one action block; equal to ``rollout``'s. ``state`` stays as it is.

        Raises:
            ValueError: an action of another shape.
        """
        predictor = check_trained(self.predictor, "step")
        check_action(action, len(state.pending), predictor)
        ahead = carried(predictor, state, action[:, None, None])
        measured = None if ahead is None else ahead[:, 0, 0]
        return advance(predictor, state, self._scale(action), self.normalise, measured)

    def observe(
        self,
        state: State,
        latent: Shaped[Tensor, "..."],
        proprioception: Shaped[Tensor, "..."] | None = None,
    ) -> State:
        """Put an encoded observation in the place of the last prediction (the pending latent).

        Raises:
            ValueError: a latent or proprioception of another shape.
        """
        check_observed(latent, state.pending, proprioception, check_trained(self.predictor, "observe"))
        return state.seen(latent, proprioception)

    def restart(
        self,
        state: State,
        rows: Shaped[Tensor, "..."],
        latents: Float[Tensor, "r t p d"],
        *,
        past_actions: Shaped[Tensor, "..."] | None = None,
        proprioception: Shaped[Tensor, "..."] | None = None,
    ) -> State:
        """Begin rows ``rows`` of a batch anew from a context of their own (after an episode's end).

        ``past_actions`` and ``proprioception`` are those of the new contexts, as ``rollout`` takes them.
        Without rows nothing changes.

        Raises:
            ValueError: rows outside the batch, or not one context a row.
        """
        check_rows(rows, latents, len(state.pending))
        if not len(rows):
            return state
        fresh = self.start(latents, past_actions=past_actions, proprioception=proprioception)
        return restart(check_trained(self.predictor, "restart"), state, rows, fresh)

    def imagine(self, latents: Shaped[Tensor, "..."], policy: Policy, *, horizon: int) -> Imagined:
        """Act in imagination: ``policy(latent [b p d]) -> [b a]`` sees the last latent, then each prediction.

        Gradients flow through latents and actions.

        Raises:
            ValueError: a horizon below 1, or those of ``start`` and ``step``.
        """
        if horizon < 1:
            raise ValueError(f"horizon must be 1 or more latent steps, got {horizon}")
        state, found, taken = self.start(latents), [], []
        for _ in range(horizon):
            taken.append(policy(state.pending))
            state, latent = self.step(state, taken[-1])
            found.append(latent)
        future = torch.stack(found, dim=1)
        said = {name: head(future) for name, head in self.heads.items()}
        return Imagined(future, torch.stack(taken, dim=1), said)

    def save_pretrained(self, folder: str | Path, *, licence: str | None = None) -> Path:
        """Write the model for ``worldjepa.load``, with a card: safetensors and JSON; return the folder.

        Args:
            folder: made if need be; a model that is there is replaced.
            licence: of the weights, as the hub names it, such as ``apache-2.0``.

        Raises:
            BlueprintError: a model with parts of your own, or not in float32.
            PretrainedError: ``facts`` of your own that are no plain values.
        """
        return save_model(self, folder, facts=self.facts, licence=licence)

    def push_to_hub(
        self, repo_id: str, *, licence: str | None = None, private: bool = False, revision: str | None = None
    ) -> str:
        """Publish the model on the Hugging Face hub; return its address, pinned to the commit.

        Args:
            repo_id: ``owner/name``, made if need be.
            licence: as in ``save_pretrained``.
            private: for a repository that is made.
            revision: a branch, made if need be; left out, the main one.

        Raises:
            BlueprintError, PretrainedError: as in ``save_pretrained``.
            HubError: it cannot be pushed.
            ImportError: huggingface_hub is not installed.
        """
        with tempfile.TemporaryDirectory() as folder:
            save_model(self, folder, facts=self.facts, licence=licence, name=repo_id)
            return push(Path(folder), repo_id, private=private, revision=revision)

    def _scale(self, actions: Tensor) -> Tensor:
        actions = actions.to(self.device)
        return actions if self.action_stats is None else self.action_stats.scale(actions)
