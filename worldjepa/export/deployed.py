"""``encode`` and one cached ``step`` of a world model as functions of plain tensors.

What a rollout keeps (``model/rollout.py``) becomes tensors of fixed size that go in and come out: keys and
values of the last ``history`` latent steps of each layer, and the number of the present step in each row. How
many of the kept steps are real follows from that number, so that a row begins anew when its number is set to
0; what its slots hold then is not looked at.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from worldjepa.model.action_predictor import ActionPredictor
from worldjepa.model.encoder import normalise_latents
from worldjepa.model.layers.cache import KeyValues, Past
from worldjepa.model.world_model import WorldModel


class Encode(nn.Module):
    """Frames of the training size to latents."""

    def __init__(self, model: WorldModel):
        super().__init__()
        encoder = model.encoder if model.target_encoder is None else model.target_encoder
        self.model = WorldModel(  # without what only training needs
            encoder=encoder, image_size=model.image_size, latent_norm=model.latent_norm
        )

    def forward(self, frames: UInt8[Tensor, "b f 3 side side"]) -> Float[Tensor, "b t p d"]:
        """Normalise and encode."""
        return self.model.encode(frames)


class Step(nn.Module):
    """A latent and the action taken there to the next latent, by the ``predictor`` of ``model``.

    ``history`` is the number of earlier latent steps that are kept. With a predictor of a window it is the
    window less the present step, and nothing is lost; else the caller chooses.
    """

    def __init__(self, model: WorldModel, predictor: ActionPredictor, history: int):
        super().__init__()
        self.predictor, self.action_stats = predictor, model.action_stats
        self.latent_norm, self.history = model.latent_norm, history

    def forward(
        self,
        latent: Float[Tensor, "b p d"],
        action: Float[Tensor, "b a"],
        keys: Float[Tensor, "layers heads b m dh"],
        values: Float[Tensor, "layers heads b m dh"],
        position: Int[Tensor, " b"],
        proprioception: Float[Tensor, "b q"] | None = None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Predict one latent step.

        Args:
            latent: the present latent, encoded or predicted.
            action: the block that is taken there, in environment units.
            keys, values: of the kept steps, the last ones at the end.
            position: the number of the present step in each row, from 0.
            proprioception: measured with the present latent, NaN in rows where it was not.

        Returns:
            The next latent, and keys, values and position to pass with it.
        """
        tokens = self.predictor.step_tokens
        age = self.history - torch.arange(self.history, device=keys.device).repeat_interleave(tokens)
        seen = age <= position.unsqueeze(1)
        shared = (KeyValues.of(*layer) for layer in zip(keys, values, strict=True))
        pasts = [Past(shared=layer, valid=seen) if self.history else Past() for layer in shared]
        table = self.predictor.rotary(position.unsqueeze(1))
        scaled = action if self.action_stats is None else self.action_stats.scale(action)
        prediction, own = self.predictor.next(latent, scaled, table, pasts, proprioception)
        keys = torch.cat([keys, torch.stack([layer.keys for layer in own])], dim=3)[:, :, :, tokens:]
        values = torch.cat([values, torch.stack([layer.values for layer in own])], dim=3)[:, :, :, tokens:]
        return normalise_latents(prediction, self.latent_norm), keys, values, position + 1

    def beginning(self, rows: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return keys, values and position of ``rows`` rows that begin."""
        predictor = self.predictor
        heads, room = predictor.embed.out_features // predictor.head_dim, self.history * predictor.step_tokens
        keys = predictor.embed.weight.new_zeros(len(predictor.blocks), heads, rows, room, predictor.head_dim)
        return keys, keys.clone(), torch.zeros(rows, dtype=torch.long)
