"""Image prediction: each latent step of a clip is an image, whose hidden blocks are predicted from its own.

I-JEPA (arXiv:2301.08243, section 3) on the frames of clips. What moves is not asked for.
"""

from __future__ import annotations

from dataclasses import replace

from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from worldjepa.objectives.masked import MaskedPrediction
from worldjepa.objectives.objective import Seen
from worldjepa.types import Grid, Masks


class ImagePrediction(MaskedPrediction):
    """Masked latent prediction within each latent step alone; the encoder's ``attention`` is ``step``.

    Masks hide as many tokens of every latent step (``block``, ``random_tube``). The target blocks of a mask
    are predicted together.
    """

    def terms(
        self,
        frames: Float[Tensor, "b f c y x"],
        masks: tuple[Masks, ...],
        *,
        second: Float[Tensor, "b f c y x"] | None = None,
        seed: int = 0,
    ) -> tuple[dict[str, Tensor], Seen]:
        """Return the terms of normalised clips, one number a clip or a batch.

        Raises:
            ValueError: masks that hide more of one latent step than of another.
        """
        grid = self.encoder.grid(frames)
        images = rearrange(frames, "b (t f) c y x -> (b t) f c y x", t=grid.t)
        by_image = tuple(Masks(by_step(m.context, grid), by_step(m.target, grid)) for m in masks)
        terms, seen = super().terms(images, by_image, seed=seed)
        terms["prediction"] = terms["prediction"].unflatten(0, (-1, grid.t)).mean(dim=1)
        back = lambda x: rearrange(x, "(b t) m d -> b (t m) d", t=grid.t)  # noqa: E731
        predictions = tuple(back(x) for x in seen.predictions)
        found = {"raw": back(seen.raw), "targets": back(seen.targets), "predictions": predictions}
        return terms, replace(seen, masks=masks, grid=grid, **found)


def by_step(ids: Tensor, grid: Grid) -> Tensor:
    """Return sorted token ids ``[b n]`` of clips as those of their images, ``[(b t) n/t]``.

    Raises:
        ValueError: a latent step with more of them than another.
    """
    steps = (ids // grid.p).unflatten(1, (grid.t, -1)) if ids.shape[1] % grid.t == 0 else None
    if steps is None or not bool((steps == steps.new_tensor(range(grid.t)).unsqueeze(1)).all()):
        raise ValueError(
            "image prediction needs masks that hide as many tokens of every latent step; set masking=image "
            "or masking=tube"
        )
    return (ids % grid.p).reshape(len(ids) * grid.t, -1)
