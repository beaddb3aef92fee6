"""Several predictors over the same latents: where they disagree, the model was not trained."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from worldjepa.model.world_model import WorldModel

REMEDY = (
    "train all of them over one encoder, with other seeds: objective=frozen model.frozen=RUN, or "
    "WorldModel(encoder=model.encoder, predictor=...) of which only the predictor is trained"
)


def disagreement(latents: Sequence[Float[Tensor, "n p d"]]) -> Float[Tensor, " n"]:
    """Return the standard deviation (that of the members, not an estimate), averaged over the latent."""
    return torch.stack(list(latents)).float().std(dim=0, correction=0).mean(dim=(-2, -1))


@torch.no_grad()
def check_members(model: WorldModel, members: Sequence[WorldModel]) -> None:
    """Compare the members' latents and actions with the model's.

    Raises:
        ValueError: a member without action predictor, with other widths, or that encodes a picture of noise
            otherwise, beyond rounding; it says which and what to do.
    """
    for number, member in enumerate(members):
        ours, theirs = _facts(model), _facts(member)
        other = [f"{fact} {theirs[fact]}, not {ours[fact]}" for fact in ours if theirs[fact] != ours[fact]]
        if other:
            raise ValueError(
                f"ensemble[{number}] does not fit the model, it has {'; '.join(other)}; {REMEDY}"
            )
        if member.training:
            raise ValueError(f"ensemble[{number}] is in training mode; call eval() before imagining with it")
        size, frames = model.image_size, model.encoder.frames_per_step
        generator = torch.Generator().manual_seed(0)
        noise = torch.randint(0, 256, (1, frames, 3, size, size), generator=generator, dtype=torch.uint8)
        there, here = member.encode(noise).float(), model.encode(noise).float()
        if not torch.allclose(there.to(here.device), here, rtol=0, atol=1e-3 * float(here.abs().max())):
            raise ValueError(
                f"ensemble[{number}] has another encoder: its latents mean something else than the model's, "
                f"and predictions of the two cannot be compared; {REMEDY}"
            )


def _facts(model: WorldModel) -> dict[str, object]:
    predictor = model.predictor
    return {
        "action predictor": predictor is not None,
        "latent width": model.encoder.latent_dim,
        "tokens a latent step": predictor and predictor.grid.p,
        "action block": (model.action_block, predictor and predictor.action_dim),
        "proprioception": predictor and predictor.proprioception_dim,
        "latent_norm": model.latent_norm,
        "device": model.device,
    }
