"""How far predictions hold: rollout error by horizon, beside two predictors that learnt nothing of actions.

A model can score well and ignore its actions, so its error stands beside that of the same model under the
actions of another window, and beside that of repeating the last latent seen.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields

import torch
from jaxtyping import Float
from torch import Tensor

from worldjepa.model.world_model import WorldModel
from worldjepa.types import Batch


@dataclass(frozen=True)
class RolloutErrors:
    """Mean squared error at each latent step ahead, as a share of the latents' variance over windows.

    1 is what predicting the mean latent scores. ``predicted``: the model's; ``copied``: repeating the last
    latent of the context; ``shuffled``: the model under the actions of another window (None: there is no
    other). ``context``: latent steps given.
    """

    context: int
    windows: int
    predicted: tuple[float, ...]
    copied: tuple[float, ...]
    shuffled: tuple[float, ...] | None

    def to_dict(self) -> dict:
        """Return plain data for JSON."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


@dataclass(frozen=True)
class RolledOut:
    """Held-out windows with what the model predicts of them, and the true states where they are recorded."""

    context: int
    latents: Float[Tensor, "b t p d"]
    predicted: Float[Tensor, "b l p d"]
    shuffled: Float[Tensor, "b l p d"] | None
    state: Float[Tensor, "b t z"] | None = None

    def errors(self) -> RolloutErrors:
        """Compare with the encoded latents."""
        targets = self.latents[:, self.context :]
        copied = self.latents[:, self.context - 1 : self.context].expand_as(targets)
        scale = self.latents.var(dim=(0, 1), correction=0).mean().clamp_min(torch.finfo(torch.float32).tiny)

        def by_step(guess: Tensor) -> tuple[float, ...]:
            return tuple(((guess - targets).square().mean(dim=(0, 2, 3)) / scale).tolist())

        shuffled = None if self.shuffled is None else by_step(self.shuffled)
        return RolloutErrors(self.context, len(targets), by_step(self.predicted), by_step(copied), shuffled)


@torch.no_grad()
def roll_out(model: WorldModel, windows: Iterable[Batch], *, context: int) -> RolledOut:
    """Predict the windows' later latents from their first ``context`` ones and their actions.

    The windows of a batch lend each other their actions for ``shuffled``: each takes those of the one before
    it, and one that is alone those of the last of the batch before.

    Raises:
        ValueError: no window, or windows not longer than the context.
    """
    model.eval()
    found: dict[str, list[Tensor]] = {"latents": [], "predicted": [], "shuffled": [], "state": []}
    before: Tensor | None = None  # the actions of the last window seen
    for batch in windows:
        assert batch.actions is not None, "windows of episodes have actions"
        latents, actions = model.encode(batch.frames), batch.actions.to(model.device)
        if latents.shape[1] <= context:
            raise ValueError(
                f"windows have {latents.shape[1]} latent steps; expected more than the {context} given"
            )
        past, ahead = actions.split([context - 1, actions.shape[1] - context + 1], dim=1)
        others = ahead.roll(1, dims=0) if len(ahead) > 1 or before is None else before
        before = ahead[-1:]
        candidates = torch.stack([ahead, others], dim=1)
        measured = batch.proprioception if model.predictor and model.predictor.proprioception_dim else None
        future = model.rollout(
            latents[:, :context],
            candidates,
            past_actions=past,
            proprioception=None if measured is None else measured[:, :context].to(model.device),
        )
        parts = {"latents": latents, "predicted": future[:, 0], "shuffled": future[:, 1]}
        if batch.state is not None:
            parts["state"] = batch.state
        for name, part in parts.items():
            found[name].append(part.float().cpu())
    if not found["latents"]:
        raise ValueError("there is no window to roll out")
    joined = {name: torch.cat(parts) for name, parts in found.items() if parts}
    if len(joined["latents"]) == 1:
        del joined["shuffled"]
    return RolledOut(context, **{"shuffled": None, **joined})
