"""The criterion of IRIS (arXiv:2209.00588): a tokenizer that reconstructs frames, and what token follows.

Both learn in the same step, where the paper takes turns. No gradient goes from the transformer to the
tokenizer.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from worldjepa.model.frames import as_unit_range, normalise_pixels
from worldjepa.model.iris.dynamics import TokenDynamics
from worldjepa.model.iris.tokenizer import FrameDecoder, FrameTokenizer
from worldjepa.model.world_model import WorldModel
from worldjepa.objectives.dynamics import Draws
from worldjepa.objectives.objective import Objective, Seen, regression_loss
from worldjepa.objectives.regularizers import Mean
from worldjepa.types import Batch, Grid, Masks

TERMS = ("prediction", "reconstruction", "commitment")


class TokenPrediction(Objective):
    """The training criterion around a world model of tokens.

    ``prediction``: cross-entropy of the tokens of all latent steps but the first, in nats a token.
    ``reconstruction``: ``loss`` of the drawn frames, as contrasts with the mean frame (of l2, drawing nothing
    else scores 1: something small counts as much as all that moves in other scenes). Its gradient passes
    straight through to the vectors that were replaced by codes. ``commitment``: squared distance of these
    from their codes.

    Args:
        model: of a ``FrameTokenizer``, ``TokenDynamics`` and a decoder as its head ``pixels``.
        loss: l1, l2 or smooth_l1.
        weights: of the terms.
        null_actions: share of transitions trained with the action left out.
        mean: average over ranks of what a step's frames and codes are like.
    """

    def __init__(
        self,
        model: WorldModel,
        *,
        loss: str = "l2",
        weights: Mapping[str, float] | None = None,
        null_actions: float = 0.1,
        mean: Mean | None = None,
    ):
        super().__init__(weights, TERMS)
        assert isinstance(model.encoder, FrameTokenizer) and isinstance(model.predictor, TokenDynamics)
        decoder = model.heads["pixels"]
        assert isinstance(decoder, FrameDecoder)
        self.model, self.loss, self.null_actions = model, loss, null_actions
        self.tokenizer, self.dynamics, self.decoder = model.encoder, model.predictor, decoder
        self.mean = mean or (lambda x: x)

    def forward(
        self, batch: Batch, masks: tuple[Masks, ...] = (), *, seed: int = 0, first_row: int = 0
    ) -> tuple[dict[str, Tensor], Seen]:
        """Return the terms of a batch of windows and what was seen (see ``Objective``)."""
        assert batch.actions is not None and self.model.action_stats is not None
        frames = normalise_pixels(as_unit_range(batch.frames))
        contrast, codebook = self.tokenizer.contrast, self.tokenizer.codebook
        if self.training:
            contrast.follow(frames, self.mean)
        seen = contrast(frames)
        vectors = self.tokenizer.vectors(seen)
        ids = codebook.nearest(vectors.detach())
        codes = codebook(ids)
        drawn = self.decoder.contrasts(vectors + (codes - vectors).detach())
        actions = self.model.action_stats.scale(batch.actions)
        known = Draws(seed, first_row, self.null_actions).kept(actions)
        logits = self.dynamics(codes, actions, known=known).float()
        terms = {
            "prediction": _cross_entropy(logits, ids[:, 1:]),
            "reconstruction": regression_loss(drawn.flatten(2), seen.flatten(2), self.loss),
            "commitment": (vectors - codes).square().mean(dim=(1, 2, 3)),
        }
        if self.training:
            draw = torch.Generator().manual_seed(seed)
            codebook.follow(vectors.detach().flatten(0, 2), ids.flatten(), self.mean, draw)
        return {name: terms[name] for name in self.weights}, self._seen(codes, logits)

    def _seen(self, codes: Float[Tensor, "b t p d"], logits: Float[Tensor, "b l p codes"]) -> Seen:
        """Return what the gauges compare: the likeliest tokens of the last step with those before it."""
        b, t, p, _ = codes.shape
        places = torch.arange(t * p, device=codes.device).expand(b, -1)
        masks = Masks(places[:, : (t - 1) * p], places[:, (t - 1) * p :])
        last = self.tokenizer.codebook(logits[:, -1].argmax(dim=-1))
        grid = Grid(t, *self.dynamics.grid[1:])
        return Seen(codes.flatten(1, 2), codes.flatten(1, 2), (last,), (masks,), grid)


def _cross_entropy(logits: Float[Tensor, "b l p codes"], ids: Tensor) -> Float[Tensor, " b"]:
    each = F.cross_entropy(logits.flatten(0, 2), ids.flatten(), reduction="none")
    return each.unflatten(0, (len(logits), -1)).mean(dim=1)
