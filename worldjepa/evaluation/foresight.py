"""What a masked predictor says of the latent steps to come, from those seen."""

from __future__ import annotations

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from worldjepa.model.encoder import VideoEncoder
from worldjepa.model.world_model import WorldModel
from worldjepa.types import Masks


class NoForesightError(ValueError):
    """The model predicts no latents from video alone."""


def check_foresight(model: WorldModel, what: str, steps: int) -> None:
    """Refuse the probe ``what`` on clips of ``steps`` latent steps where nothing can be foreseen.

    Raises:
        NoForesightError: the model has no masked predictor, or clips have no future.
    """
    if model.masked_predictor is None or not isinstance(model.encoder, VideoEncoder):
        raise NoForesightError(
            f"probe={what} needs a masked predictor, and this model has none; train one from video, for "
            "example with +experiment=kinetics"
        )
    if steps < 2:
        raise NoForesightError(f"probe={what} needs clips of 2 latent steps or more, the run's have {steps}")


@torch.no_grad()
def foresee(
    model: WorldModel, frames: Shaped[Tensor, "b f c y x"], steps: int
) -> tuple[Float[Tensor, "b shown p d"], Float[Tensor, "b ahead p d"]]:
    """Return the latents of the first ``steps`` latent steps, encoded alone, and the later ones predicted.

    Raises:
        NoForesightError: the model has no masked predictor.
        ValueError: nothing is left to predict.
    """
    x = model.prepare(frames)
    grid = model.encoder.grid(x)
    check_foresight(model, "surprise (or anticipation)", grid.t)
    encoder, predictor = model.encoder, model.masked_predictor
    assert isinstance(encoder, VideoEncoder) and predictor is not None
    if not 0 < steps < grid.t:
        raise ValueError(f"{steps} of {grid.t} latent steps are given; expected 1 to {grid.t - 1}")
    ids = torch.arange(grid.n, device=x.device).expand(len(x), -1)
    masks = Masks(ids[:, : steps * grid.p].contiguous(), ids[:, steps * grid.p :].contiguous())
    seen = encoder.encode_tubelets(encoder.tubelets(x), grid, masks.context)
    ahead = predictor(seen, masks, grid)
    return model.normalise(seen).unflatten(1, (steps, grid.p)), ahead.unflatten(1, (-1, grid.p))
