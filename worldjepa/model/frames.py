"""Frames as users have them to what the encoder reads: float, the training size, ImageNet's statistics."""

from __future__ import annotations

import torch
import torchvision.transforms.v2.functional as V
from jaxtyping import Float, Shaped
from torch import Tensor

# ImageNet statistics, as the published V-JEPA models use
PIXEL_MEAN = (0.485, 0.456, 0.406)
PIXEL_STD = (0.229, 0.224, 0.225)

FITS = ("crop", "squeeze")
PIECE = 2**19  # pixels that a CPU encodes at once: what more of them make leaves its caches


def fit_frames(
    frames: Float[Tensor, "b f c y x"], size: int, fit: str = "crop"
) -> Float[Tensor, "b f c size size"]:
    """Make frames ``size`` x ``size``, antialiased.

    ``fit``: crop (bring the short side to ``size``, crop at the centre) or squeeze (keep all of the frame).
    """
    if frames.shape[-2:] == (size, size):
        return frames
    if fit == "squeeze":
        return V.resize(frames, [size, size], antialias=True)
    return V.center_crop(V.resize(frames, [size], antialias=True), [size, size])


def normalise_pixels(frames: Float[Tensor, "b f c y x"]) -> Float[Tensor, "b f c y x"]:
    """Shift and scale RGB frames in [0, 1] by ImageNet's statistics."""
    mean = frames.new_tensor(PIXEL_MEAN).view(3, 1, 1)
    std = frames.new_tensor(PIXEL_STD).view(3, 1, 1)
    return (frames - mean) / std


def pixels_of(frames: Float[Tensor, "*b c y x"]) -> Float[Tensor, "*b c y x"]:
    """Return normalised frames as RGB in [0, 1] (not clipped): what ``normalise_pixels`` took."""
    mean = frames.new_tensor(PIXEL_MEAN).view(3, 1, 1)
    std = frames.new_tensor(PIXEL_STD).view(3, 1, 1)
    return frames * std + mean


def as_unit_range(frames: Shaped[Tensor, "*axes"]) -> Float[Tensor, "*axes"]:
    """Return frames as float in [0, 1].

    Raises:
        ValueError: another number of axes or channels, or values outside 0..255 (whole numbers) or [0, 1]
            (float).
    """
    if not isinstance(frames, Tensor):
        raise ValueError(f"frames must be a torch tensor [b f c y x], got {type(frames).__name__}")
    if frames.ndim != 5 or frames.shape[2] != 3 or 0 in frames.shape[3:]:
        raise ValueError(f"frames must be RGB [b f c y x], got shape {tuple(frames.shape)}; add or move axes")
    if frames.dtype == torch.uint8:
        return frames.float() / 255
    if frames.dtype == torch.bool or frames.is_complex():
        raise ValueError(f"frames must be uint8 or float in [0, 1], got {frames.dtype}")
    low, high = (float(v) for v in torch.aminmax(frames)) if frames.numel() else (0.0, 0.0)
    if not frames.is_floating_point():
        if low < 0 or high > 255:
            raise ValueError(f"whole-number frames must lie in 0..255, got {low:.0f} to {high:.0f}")
        return frames.float() / 255
    if not (low >= -1e-3 and high <= 1 + 1e-3):  # also catches NaN
        raise ValueError(
            f"float frames must lie in [0, 1], got {low:.4g} to {high:.4g}; divide by 255, or pass uint8"
        )
    return frames


def pieces(x: Float[Tensor, "b f c y x"]) -> tuple[Float[Tensor, "_ f c y x"], ...]:
    """Return clips in parts that are quick to encode one after the other; all at once where that is quicker.

    With gradients every part's values are kept anyway, and an exported graph is to take any batch.
    """
    if x.device.type != "cpu" or torch.is_grad_enabled() or torch.compiler.is_compiling() or not x.numel():
        return (x,)
    return x.split(max(1, PIECE // (x[0, :, 0].numel())))
