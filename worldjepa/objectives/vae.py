"""The variational autoencoder (arXiv:1312.6114): the decoder reads a noisy code, near a standard normal."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from worldjepa.model.decoder import PixelDecoder
from worldjepa.model.encoder import VideoEncoder
from worldjepa.model.layers.linear import Linear
from worldjepa.objectives.autoencoder import Autoencoder
from worldjepa.seeding import derive_seed

TERMS = ("prediction", "kl")


class VariationalAutoencoder(Autoencoder):
    """An autoencoder whose tokens are drawn from Gaussians, read off the latents by a linear map.

    ``kl`` is the divergence of a token's Gaussian from a standard normal, in nats, divided by the values of a
    tubelet: so with squared error, weights 1 and w make the evidence bound of pixels with variance w / 2
    (times a constant).
    """

    def __init__(
        self,
        encoder: VideoEncoder,
        decoder: PixelDecoder,
        *,
        loss: str = "l2",
        weights: Mapping[str, float] | None = None,
    ):
        super().__init__(encoder, decoder, loss=loss, weights=weights, terms=TERMS)
        self.pixels = decoder.proj.out_features
        self.auxiliary["posterior"] = Linear(encoder.dim, 2 * decoder.embed.in_features)

    def code(
        self, latents: Float[Tensor, "b n d"], seed: int, first_row: int
    ) -> tuple[Float[Tensor, "b n z"], dict[str, Tensor]]:
        """Return a draw of each token's code and the divergence."""
        posterior = self.auxiliary["posterior"](latents).float()
        mean, log_variance = posterior.chunk(2, dim=-1)
        noise = _noise(mean, seed, first_row)  # pyright: ignore[reportCallIssue]
        code = mean + (0.5 * log_variance).exp() * noise
        kl = divergence(mean, log_variance).mean(dim=1) / self.pixels
        return code, {"kl": kl} if "kl" in self.weights else {}


def divergence(mean: Float[Tensor, "b n z"], log_variance: Float[Tensor, "b n z"]) -> Float[Tensor, "b n"]:
    """Return the Kullback-Leibler divergence of diagonal Gaussians from the standard normal, in nats."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=-1)


@torch.compiler.disable  # numpy's seeds cannot be traced
def _noise(like: Float[Tensor, "b n z"], seed: int, first_row: int) -> Float[Tensor, "b n z"]:
    """Draw noise by (seed, row of the global batch)."""
    rows = [
        torch.randn(like.shape[1:], generator=torch.Generator().manual_seed(derive_seed(seed, row)))
        for row in range(first_row, first_row + len(like))
    ]
    return torch.stack(rows).to(like)
