"""The autoencoder: from the latents of whole clips, draw the clips again."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from jaxtyping import Float
from torch import Tensor

from worldjepa.model.decoder import PixelDecoder
from worldjepa.model.encoder import VideoEncoder
from worldjepa.objectives.objective import Objective, Seen, pixel_tubelets, regression_loss
from worldjepa.types import Batch, Grid, Masks


class Autoencoder(Objective):
    """Reconstruction of every tubelet, in pixels normalised by ImageNet's statistics.

    The width of a token, narrower than its tubelet, is the bottleneck. Masks are not used. ``loss`` is one of
    ``LOSSES``, on pixels.
    """

    def __init__(
        self,
        encoder: VideoEncoder,
        decoder: PixelDecoder,
        *,
        loss: str = "l2",
        weights: Mapping[str, float] | None = None,
        terms: Collection[str] = ("prediction",),
    ):
        super().__init__(weights, terms)
        self.encoder, self.loss = encoder, loss
        self.auxiliary["decoder"] = decoder

    def forward(
        self, batch: Batch, masks: tuple[Masks, ...] = (), *, seed: int = 0, first_row: int = 0
    ) -> tuple[dict[str, Tensor], Seen]:
        """Return the terms of a batch and what was seen (see ``Objective``)."""
        tubelets, grid = pixel_tubelets(self.encoder, batch.frames)
        latents = self.encoder.encode_tubelets(tubelets, grid)
        codes, terms = self.code(latents, seed, first_row)
        drawn = self.auxiliary["decoder"](codes, grid)
        terms["prediction"] = regression_loss(drawn, tubelets, self.loss)
        return terms, self.seen(latents, grid)

    def code(
        self, latents: Float[Tensor, "b n d"], seed: int, first_row: int
    ) -> tuple[Float[Tensor, "b n z"], dict[str, Tensor]]:
        """Return what the decoder reads of the latents, and the terms that come with it."""
        return latents, {}

    @staticmethod
    def seen(latents: Float[Tensor, "b n d"], grid: Grid) -> Seen:
        """Return the latents for the gauges; no latent is predicted."""
        return Seen(latents.detach(), latents.detach(), (), (), grid)
