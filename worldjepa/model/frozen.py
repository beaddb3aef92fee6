"""Encoders that are taken as they are: a pretrained one of ours, or a timm backbone by name."""

from __future__ import annotations

from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from worldjepa.model.encoder import VideoEncoder
from worldjepa.model.frames import PIXEL_MEAN, PIXEL_STD
from worldjepa.types import Grid


def timm_settings(name: str) -> Any:
    """Return what timm's registry says of a model (input size, pixel statistics, ...), None if unknown.

    ``name`` must be plain, with or without a tag: it never names a place to download code or weights from.
    """
    import timm  # only now: it takes as long to import as all of ours

    try:
        return timm.get_pretrained_cfg(name) if timm.is_model(name) else None
    except RuntimeError:  # a tag that it does not have
        return None


class TimmBackbone(nn.Module):
    """A timm model as an encoder of single frames: the patch tokens, or the last map of features.

    Frames come normalised as everywhere here (ImageNet's statistics) and are normalised as the backbone was
    trained: its statistics are kept with its weights. ``name`` must be a plain one of timm's registry;
    ``pretrained`` fetches the registry's own weights, all of them or none.

    Raises:
        ValueError: a name that timm does not know.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(self, name: str, *, image_size: int, pretrained: bool):
        import timm

        super().__init__()
        registered = timm_settings(name)
        if registered is None:
            near = ", ".join(timm.list_models(f"{name[:12]}*")[:5])
            raise ValueError(
                f"timm has no model {name!r}; pass a plain name of its registry, such as "
                f"vit_small_patch14_dinov2{f'; there are {near}' if near else ''}"
            )
        settings: dict[str, Any] = {"img_size": image_size} if registered.fixed_input_size else {}
        # with its classifier, which goes at once: without one timm would load in silence what it finds
        self.net: Any = timm.create_model(name, pretrained=pretrained, **settings)
        self.net.reset_classifier(0)
        self.register_buffer("pixel_mean", torch.tensor(registered.mean))
        self.register_buffer("pixel_std", torch.tensor(registered.std))
        self.name, self.image_size = name, image_size
        self.latent_dim: int = self.net.num_features

    def tokens(self, frames: Float[Tensor, "b f c y x"]) -> Float[Tensor, "b t p d"]:
        """Return the tokens of each frame, row by row."""
        b = frames.shape[0]
        features = self.net.forward_features(self._renormalised(frames.flatten(0, 1)))
        if features.ndim == 3:
            features = features[:, getattr(self.net, "num_prefix_tokens", 0) :]
        elif getattr(self.net, "output_fmt", "NCHW") == "NHWC":
            features = rearrange(features, "n y x d -> n (y x) d")
        else:
            features = rearrange(features, "n d y x -> n (y x) d")
        return features.unflatten(0, (b, -1))

    def _renormalised(self, frames: Float[Tensor, "n c y x"]) -> Float[Tensor, "n c y x"]:
        """Return frames normalised by our statistics as normalised by the backbone's."""
        mean, std = self.pixel_mean.view(3, 1, 1), self.pixel_std.view(3, 1, 1)
        our_mean, our_std = (frames.new_tensor(x).view(3, 1, 1) for x in (PIXEL_MEAN, PIXEL_STD))
        return frames * (our_std / std) + (our_mean - mean) / std

    def latent_grid(self, y: int, x: int) -> tuple[int, int]:
        """Return the rows and columns of tokens of a ``y`` x ``x`` frame.

        Raises:
            ValueError: the backbone cannot take frames of that size.
        """
        if hasattr(self.net, "patch_embed") and hasattr(self.net.patch_embed, "patch_size"):
            h, w = (int(size) for size in self.net.patch_embed.patch_size)
            if y % h or x % w:
                near = max(1, round(y / h)) * h
                raise ValueError(
                    f"frames are {y} x {x}; the backbone's patches need multiples of {h}: set "
                    f"data.size={near}"
                )
        with torch.no_grad():
            device = next(self.net.parameters()).device
            tokens = self.tokens(torch.zeros(1, 1, 3, y, x, device=device)).shape[2]
        rows = round((tokens * y / x) ** 0.5)
        return rows, tokens // rows


class FrozenEncoder(nn.Module):
    """An encoder whose weights stay: always in eval mode, without gradients, one frame a latent step.

    ``pool``: none (patch tokens are the latents) or mean (one pooled latent a step).
    """

    frames_per_step, attention = 1, "step"

    def __init__(self, backbone: VideoEncoder | TimmBackbone, *, pool: str = "none"):
        super().__init__()
        if pool not in ("none", "mean"):
            raise ValueError(f"pool of a frozen encoder must be none or mean, got {pool!r}")
        if isinstance(backbone, VideoEncoder) and (backbone.attention, backbone.frames_per_step) != (
            "step",
            1,
        ):
            raise ValueError(
                "a frozen encoder encodes each frame alone: build it with attention='step' and "
                f"frames_per_step=1, got {backbone.attention!r} and {backbone.frames_per_step}"
            )
        self.backbone, self.pool = backbone.requires_grad_(False), pool
        self.eval()

    def train(self, mode: bool = True) -> FrozenEncoder:
        """Stay in eval mode: what is frozen does not move its statistics either."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, frames: Float[Tensor, "b f c y x"]) -> Float[Tensor, "b t p d"]:
        """Return the latents of whole clips."""
        tokens = self.tokens(frames)
        return tokens.mean(dim=2, keepdim=True) if self.pool == "mean" else tokens

    @torch.no_grad()
    def tokens(self, frames: Float[Tensor, "b f c y x"]) -> Float[Tensor, "b t p d"]:
        """Return the patch tokens of whole clips, before pooling."""
        return self.backbone.tokens(frames)

    @property
    def latent_dim(self) -> int:
        """Width of the latents."""
        return self.backbone.latent_dim

    def latent_grid(self, y: int, x: int) -> tuple[int, int]:
        """Return the rows and columns of latents of a ``y`` x ``x`` frame."""
        return (1, 1) if self.pool == "mean" else self.backbone.latent_grid(y, x)

    def grid(self, frames: Tensor) -> Grid:
        """Return the token grid of a clip, time counted in latent steps."""
        return Grid(frames.shape[1], *self.backbone.latent_grid(frames.shape[-2], frames.shape[-1]))
