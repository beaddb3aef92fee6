"""The world model: one class to pretrain from video, to encode, and to predict.

See the contracts of ``encode`` and ``rollout`` in their docstrings. A model holds its preprocessing: users
pass frames as they come (uint8, any size) and get latents as in training.
"""

from __future__ import annotations

import torch
import torchvision.transforms.v2.functional as V
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from worldjepa.model.encoder import VideoEncoder, normalise_latents
from worldjepa.model.predictor import MaskedPredictor

# ImageNet statistics, as the published V-JEPA models use
PIXEL_MEAN = (0.485, 0.456, 0.406)
PIXEL_STD = (0.229, 0.224, 0.225)


class WorldModel(nn.Module):
    """An encoder, its EMA target, and the predictors trained with them.

    Args:
        encoder: the context encoder, which training moves.
        target_encoder: its EMA copy, if there is one: then ``encode`` uses it.
        masked_predictor: the predictor of masked pretraining, if the model was trained so.
        image_size: side in pixels that frames are brought to.
        latent_norm: ``layer`` (LayerNorm without affine) or ``none``; applied to every latent handed out.
    """

    def __init__(
        self,
        *,
        encoder: VideoEncoder,
        target_encoder: VideoEncoder | None = None,
        masked_predictor: MaskedPredictor | None = None,
        image_size: int = 224,
        latent_norm: str = "layer",
    ):
        super().__init__()
        if latent_norm not in ("layer", "none"):
            raise ValueError(f"latent_norm must be layer or none, got {latent_norm!r}")
        self.encoder, self.target_encoder, self.masked_predictor = encoder, target_encoder, masked_predictor
        self.image_size, self.latent_norm = image_size, latent_norm
        if target_encoder is not None:
            target_encoder.requires_grad_(False)

    @property
    def device(self) -> torch.device:
        """The device of the parameters."""
        return next(self.parameters()).device

    def encode(self, frames: Shaped[Tensor, "..."]) -> Float[Tensor, "b t p d"]:
        """Encode clips into the latent space that predictions live in.

        Frames of another size are resized (short side to ``image_size``, antialiased) and cropped at the
        centre.

        Args:
            frames: ``[b f c y x]``, uint8 in 0..255, or float in [0, 1], on any device (they are moved to the
                model's); ``f`` = latent steps x ``encoder.frames_per_step``, oldest first.

        Raises:
            ValueError: another number of axes, dtype or range, or frames that do not fill latent steps.
        """
        x = self.prepare(frames)
        encoder = self.encoder if self.target_encoder is None else self.target_encoder
        return normalise_latents(encoder(x), self.latent_norm)

    def prepare(self, frames: Shaped[Tensor, "..."]) -> Float[Tensor, "b f 3 side side"]:
        """Resize, crop and normalise frames as in training (see ``encode`` for what may be passed)."""
        x = as_unit_range(frames).to(self.device, next(self.parameters()).dtype)
        size = self.image_size
        if x.shape[-2:] != (size, size):
            x = V.center_crop(V.resize(x, [size], antialias=True), [size, size])
        return normalise_pixels(x)

    def rollout(self, latents: Float[Tensor, "b t p d"], actions: Tensor) -> Tensor:
        """Predict the latents that follow under ``actions``.

        Raises:
            ValueError: the model was trained from video alone and has no action predictor.
        """
        raise ValueError(
            "rollout needs a model trained with actions, and this one was trained from video alone "
            "(it has an encoder and a masked predictor); encode(frames) works"
        )


def normalise_pixels(frames: Float[Tensor, "b f c y x"]) -> Float[Tensor, "b f c y x"]:
    """Shift and scale RGB frames in [0, 1] by ImageNet's statistics."""
    mean = frames.new_tensor(PIXEL_MEAN).view(3, 1, 1)
    std = frames.new_tensor(PIXEL_STD).view(3, 1, 1)
    return (frames - mean) / std


def as_unit_range(frames: Shaped[Tensor, "*axes"]) -> Float[Tensor, "*axes"]:
    """Return frames as float in [0, 1], or say what is wrong with them."""
    if not isinstance(frames, Tensor):
        raise ValueError(f"frames must be a torch tensor [b f c y x], got {type(frames).__name__}")
    if frames.ndim != 5 or frames.shape[2] != 3:
        raise ValueError(f"frames must be RGB [b f c y x], got shape {tuple(frames.shape)}; add or move axes")
    if frames.dtype == torch.uint8:
        return frames.float() / 255
    if not frames.is_floating_point():
        raise ValueError(
            f"frames must be uint8 or float in [0, 1], got {frames.dtype}; call .to(torch.uint8)"
        )
    low, high = (float(v) for v in torch.aminmax(frames)) if frames.numel() else (0.0, 0.0)
    if not (low >= -1e-3 and high <= 1 + 1e-3):  # also catches NaN
        raise ValueError(
            f"float frames must lie in [0, 1], got {low:.4g} to {high:.4g}; divide by 255, or pass uint8"
        )
    return frames
