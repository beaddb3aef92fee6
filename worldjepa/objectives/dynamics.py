"""Latent dynamics: from latents and actions, predict the latents that follow.

The loss is teacher-forced and rolled out over several latent steps, with gradients through the rollout
(V-JEPA 2-AC, arXiv:2506.09985, section 3.1). Targets are the EMA encoder's latents, or the encoder's own:
then the gradient goes through both sides and regularisers keep them apart (SIGReg of LeWM, arXiv:2603.19312;
variance, covariance, time similarity and inverse dynamics of PLDM, arXiv:2502.14819). A frozen encoder needs
none of that.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor

from worldjepa.model.action_predictor import ActionPredictor
from worldjepa.model.frames import as_unit_range, normalise_pixels
from worldjepa.model.heads import HEADS, LOOKING
from worldjepa.model.projector import BatchNorm, Readout
from worldjepa.model.rollout import predict_futures
from worldjepa.model.world_model import WorldModel
from worldjepa.objectives.objective import Objective, Seen, regression_loss
from worldjepa.objectives.regularizers import Mean, covariance_term, sigreg_term, variance_term
from worldjepa.seeding import derive_seed
from worldjepa.types import Batch, Grid, Masks

SHAPING = ("variance", "covariance", "sigreg", "inverse_dynamics", "time_similarity")
TERMS = ("prediction", "rollout", *SHAPING, *HEADS)


class LatentDynamics(Objective):
    """The training criterion around a world model's encoder, action predictor and heads.

    Args:
        model: has an action predictor; with a target encoder, that gives the targets.
        loss: on latents: l1, l2, smooth_l1 or cosine.
        weights: the terms in use: prediction and any of ``TERMS``; one of a head only where the model has it.
        rollout_steps: latent steps that the rollout term predicts from its own predictions (at most those
            there are), beginning at the first latent.
        null_actions: share of transitions (and of measured proprioception) left out in the teacher-forced
            term.
        sigreg_projections, sigreg_knots: see ``sigreg_term``.
        mean: average over the ranks of batch statistics, of ``world_size`` ranks.

    Raises:
        ValueError: the model has no action predictor or head that a term needs, or a term is unknown.
    """

    def __init__(
        self,
        model: WorldModel,
        *,
        loss: str = "l2",
        weights: Mapping[str, float] | None = None,
        rollout_steps: int = 1,
        null_actions: float = 0.1,
        sigreg_projections: int = 1024,
        sigreg_knots: int = 17,
        mean: Mean | None = None,
        world_size: int = 1,
    ):
        super().__init__(weights, TERMS)
        missing = [name for name in self.weights if name in HEADS and name not in model.heads]
        if missing or model.predictor is None:
            raise ValueError(
                f"the model has no {', '.join(missing) or 'action predictor'}; build it with one"
            )
        self.model, self.loss = model, loss
        self.rollout_steps, self.null_actions = rollout_steps, null_actions
        self.sigreg_projections, self.sigreg_knots = sigreg_projections, sigreg_knots
        self.mean, self.world_size = mean or (lambda x: x), world_size
        for module in model.modules():
            if isinstance(module, BatchNorm):
                module.mean = self.mean
        if "inverse_dynamics" in self.weights:
            self.auxiliary["inverse_dynamics"] = Readout(
                dim=2 * self.predictor.latent_dim,
                num_tokens=self.predictor.grid.p,
                out_dim=self.predictor.action_dim,
            ).to(model.device)

    @property
    def predictor(self) -> ActionPredictor:
        """The model's action predictor."""
        assert isinstance(self.model.predictor, ActionPredictor)
        return self.model.predictor

    def forward(
        self, batch: Batch, masks: tuple[Masks, ...] = (), *, seed: int = 0, first_row: int = 0
    ) -> tuple[dict[str, Tensor], Seen]:
        """Return the terms of a batch of windows and what was seen (see ``Objective``).

        Raises:
            ValueError: the batch lacks actions, or what a head is to learn.
        """
        actions = self._scaled_actions(batch)
        frames = normalise_pixels(as_unit_range(batch.frames))
        raw = self.encode(frames)
        context = self.model.normalise(raw)
        target_raw = raw if self.model.target_encoder is None else self.encode_targets(frames)
        targets = self.model.normalise(target_raw)
        draws = Draws(seed, first_row, self.null_actions)
        predicted = self.predict(context, actions, batch.proprioception, draws)
        terms = {"prediction": self._compare(predicted, targets[:, 1:])}
        if "rollout" in self.weights:
            predicted = self.roll_out(context, actions, batch.proprioception)
            terms["rollout"] = self._compare(predicted, targets[:, 1 : 1 + predicted.shape[1]])
        terms |= self.shape_latents(raw, context, actions, seed) | self.read(context, targets, batch)
        return terms, self._seen(target_raw, targets, predicted)

    def encode(self, frames: Float[Tensor, "b f c y x"]) -> Float[Tensor, "b t p d"]:
        """Return the encoder's latents of all frames, in one pass, before the latent norm."""
        return self.model.encoder(frames)

    @torch.no_grad()
    def encode_targets(self, frames: Float[Tensor, "b f c y x"]) -> Float[Tensor, "b t p d"]:
        """Return the EMA encoder's latents before the latent norm.

        It is in training mode as well, where its BatchNorm normalises by the batch and follows it with
        statistics of its own.
        """
        assert self.model.target_encoder is not None
        return self.model.target_encoder(frames)

    def predict(
        self,
        latents: Float[Tensor, "b t p d"],
        actions: Float[Tensor, "b l a"],
        proprioception: Float[Tensor, "b t q"] | None,
        draws: Draws,
    ) -> Float[Tensor, "b l p d"]:
        """Predict each latent but the first from those before it, some actions left out."""
        known, measured = draws.kept(actions), None
        if proprioception is not None and self.predictor.proprioception_dim:
            seen = draws.kept(proprioception[:, :-1], stream=1).unsqueeze(-1)
            measured = torch.where(seen, proprioception[:, :-1], math.nan)
        predicted = self.predictor(latents[:, :-1], actions, known=known, proprioception=measured)
        return self.model.normalise(predicted)

    def roll_out(
        self,
        latents: Float[Tensor, "b t p d"],
        actions: Float[Tensor, "b l a"],
        proprioception: Float[Tensor, "b t q"] | None,
    ) -> Float[Tensor, "b _ p d"]:
        """Predict ``rollout_steps`` latents from the first one and the actions alone.

        A predictor with kinematics is given proprioception as measured at each step (V-JEPA 2-AC); others
        where the rollout begins.
        """
        measured = ahead = None
        future = actions[:, None, : self.rollout_steps]
        if proprioception is not None and self.predictor.proprioception_dim:
            measured = proprioception[:, :1]
            if self.predictor.kinematics is not None:
                ahead = proprioception[:, None, 1 : future.shape[2] + 1]
        found = predict_futures(
            self.predictor,
            latents[:, :1],
            future,
            norm=self.model.normalise,
            proprioception=measured,
            ahead=ahead,
        )
        return found.squeeze(1)

    def shape_latents(
        self,
        raw: Float[Tensor, "b t p d"],
        context: Float[Tensor, "b t p d"],
        actions: Float[Tensor, "b l a"],
        seed: int,
    ) -> dict[str, Tensor]:
        """Return the terms that act on the encoder's latents alone.

        Variance and covariance are taken over all latents of a place; SIGReg over the batch, for each latent
        step (and place) apart, as in LeWM.
        """
        terms: dict[str, Tensor] = {}
        rows = rearrange(raw, "b t p d -> (b t) p d")
        if "variance" in self.weights:
            terms["variance"] = variance_term(rows, self.mean)
        if "covariance" in self.weights:
            terms["covariance"] = covariance_term(rows, self.mean)
        if "sigreg" in self.weights:
            terms["sigreg"] = sigreg_term(
                raw,
                self.mean,
                generator=torch.Generator().manual_seed(seed),
                num_projections=self.sigreg_projections,
                knots=self.sigreg_knots,
                batch_size=len(raw) * self.world_size,
            )
        if "time_similarity" in self.weights:
            gaps = context[:, 1:].float() - context[:, :-1].float()
            terms["time_similarity"] = gaps.square().mean(dim=(1, 2, 3))
        if "inverse_dynamics" in self.weights:
            pairs = torch.cat([context[:, :-1], context[:, 1:]], dim=-1)
            said = self.auxiliary["inverse_dynamics"](pairs)
            terms["inverse_dynamics"] = (said - actions).square().mean(dim=(1, 2))
        return terms

    def read(
        self, context: Float[Tensor, "b t p d"], targets: Float[Tensor, "b t p d"], batch: Batch
    ) -> dict[str, Tensor]:
        """Return the losses of the heads in use; those for looking read detached latents."""
        terms: dict[str, Tensor] = {}
        for name in (name for name in HEADS if name in self.weights):
            truth = self._truth(name, batch)
            latents = targets.detach() if name in LOOKING else context[:, 1:]
            if name == "pixels":  # one frame a window is enough to learn to draw, and drawing all is dear
                latents = latents[:, -1:]
            said = self.model.heads[name](latents)
            if name == "termination":
                loss = F.binary_cross_entropy_with_logits(said, truth, reduction="none")
            else:
                loss = (said - truth).square()
            terms[name] = loss.flatten(1).mean(dim=1)
        return terms

    def _truth(self, name: str, batch: Batch) -> Tensor:
        """Return what a head is to say, as it is aligned with the latents it reads."""
        sources = {
            "reward": batch.rewards,
            "termination": batch.terminated,
            "proprioception": batch.proprioception,
            "pixels": batch.frames[:, -1:],
        }
        if sources[name] is None:
            raise ValueError(
                f"objective.weights.{name}: the episodes have no {name} recorded; leave {name} out of "
                "objective.weights and model.heads"
            )
        truth = sources[name]
        assert truth is not None
        return as_unit_range(truth) if name == "pixels" else truth.float()

    def _scaled_actions(self, batch: Batch) -> Float[Tensor, "b l a"]:
        if batch.actions is None:
            raise ValueError(
                "a batch without actions trains no world model; read episodes with data.windows.window_loader"
            )
        stats = self.model.action_stats
        return batch.actions if stats is None else stats.scale(batch.actions)

    def _compare(self, predicted: Tensor, targets: Tensor) -> Float[Tensor, " b"]:
        return regression_loss(predicted.flatten(1, 2), targets.flatten(1, 2), self.loss)

    def _seen(self, raw: Tensor, targets: Tensor, predicted: Tensor) -> Seen:
        """Return what the gauges compare.

        That is rolled-out latents with copies of the first one, the last that was known; without the rollout
        term, the last teacher-forced prediction with a copy of the latent before it.
        """
        b, t = raw.shape[:2]
        grid = Grid(t, *self.predictor.grid[1:])
        known, end = (1, 1 + predicted.shape[1]) if "rollout" in self.weights else (t - 1, t)
        ids = torch.arange(end * grid.p, device=raw.device).expand(b, -1)
        masks = Masks(ids[:, : known * grid.p], ids[:, known * grid.p :])
        last = predicted[:, known - end :].detach().flatten(1, 2)
        return Seen(raw.detach().flatten(1, 2), targets.detach().flatten(1, 2), (last,), (masks,), grid)


class Draws:
    """What is left out, drawn by (seed, row): the same however the global batch is divided."""

    def __init__(self, seed: int, first_row: int, share: float):
        self.seed, self.first_row, self.share = seed, first_row, share

    def kept(self, values: Float[Tensor, "b l a"], stream: int = 0) -> Bool[Tensor, "b l"]:
        """Return which of the values stay; ``stream`` tells independent draws apart."""
        rows = range(self.first_row, self.first_row + len(values))
        drawn = _uniform(self.seed, stream, rows, values.shape[1])  # pyright: ignore[reportCallIssue]
        return (drawn >= self.share).to(values.device)


@torch.compiler.disable  # numpy's seeds cannot be traced
def _uniform(seed: int, stream: int, rows: range, length: int) -> Float[Tensor, "b l"]:
    """Return numbers in [0, 1) for some rows of the global batch."""
    generator = torch.Generator().manual_seed(derive_seed(seed, stream))
    return torch.rand(rows.stop, length, generator=generator)[rows.start :]
