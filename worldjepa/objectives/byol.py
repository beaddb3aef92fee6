"""Two views: from one clip of a video, predict what the target encoder makes of another.

BYOL (arXiv:2006.07733): without negatives and without anything hidden. The views are two clips, each cut and
augmented on its own.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from worldjepa.model.encoder import VideoEncoder, normalise_latents
from worldjepa.model.layers.linear import Linear
from worldjepa.model.projector import BatchNorm
from worldjepa.objectives.objective import Objective, Seen, pixel_tubelets, regression_loss
from worldjepa.objectives.regularizers import Mean
from worldjepa.types import Batch, Grid, Masks


class TwoViews(Objective):
    """Prediction of each view's projection from the other's, through the EMA copy of encoder and projector.

    Tokens are averaged over the clip. ``loss`` is one of ``LOSSES``; cosine is the paper's, halved. ``mean``
    averages the statistics of BatchNorm over ranks.
    """

    def __init__(
        self,
        encoder: VideoEncoder,
        target_encoder: VideoEncoder,
        *,
        loss: str = "cosine",
        weights: Mapping[str, float] | None = None,
        latent_norm: str = "layer",
        mean: Mean | None = None,
    ):
        super().__init__(weights, ("prediction",))
        self.encoder, self.target_encoder = encoder, target_encoder
        self.loss, self.latent_norm = loss, latent_norm
        projector = Mlp(encoder.dim, mean)
        target = copy.deepcopy(projector).requires_grad_(False)
        self.auxiliary.update(
            {"projector": projector, "target_projector": target, "predictor": Mlp(encoder.dim, mean)}
        )
        self.copies = ((target, projector),)

    def forward(
        self, batch: Batch, masks: tuple[Masks, ...] = (), *, seed: int = 0, first_row: int = 0
    ) -> tuple[dict[str, Tensor], Seen]:
        """Return the term of a batch and the target encoder's latents of its first views."""
        assert batch.second is not None, "the loader gives two clips a video for this criterion"
        views = [pixel_tubelets(self.encoder, frames) for frames in (batch.frames, batch.second)]
        targets = [self.target(*view) for view in views]
        (raw, first), (_, second) = targets
        losses = [
            regression_loss(self.predict(*view).unsqueeze(1), target.unsqueeze(1), self.loss)
            for view, target in zip(views, (second, first), strict=True)
        ]
        latents = normalise_latents(raw, self.latent_norm)
        return {"prediction": (losses[0] + losses[1]) / 2}, Seen(raw, latents, (), (), views[0][1])

    def predict(self, tubelets: Float[Tensor, "b n pixels"], grid: Grid) -> Float[Tensor, "b d"]:
        """Return what one view says of the other's projection."""
        pooled = self.encoder.encode_tubelets(tubelets, grid).mean(dim=1)
        return self.auxiliary["predictor"](self.auxiliary["projector"](pooled))

    @torch.no_grad()
    def target(
        self, tubelets: Float[Tensor, "b n pixels"], grid: Grid
    ) -> tuple[Float[Tensor, "b n d"], Float[Tensor, "b d"]]:
        """Return the target encoder's latents of a view and the projection of their mean."""
        latents = self.target_encoder.encode_tubelets(tubelets, grid)
        return latents, self.auxiliary["target_projector"](latents.mean(dim=1))


class Mlp(nn.Module):
    """Two linear maps with BatchNorm and ReLU between, in float32; the hidden layer is four times as wide."""

    def __init__(self, dim: int, mean: Mean | None = None):
        super().__init__()
        self.fc1 = Linear(dim, 4 * dim, bias=False)  # BatchNorm would take a bias away
        self.norm = BatchNorm(4 * dim)
        self.fc2 = Linear(4 * dim, dim)
        if mean is not None:
            self.norm.mean = mean

    def forward(self, x: Float[Tensor, "b d"]) -> Float[Tensor, "b d"]:
        """Map pooled latents."""
        with torch.autocast(x.device.type, enabled=False):
            return self.fc2(self.norm(self.fc1(x.float())).relu())
