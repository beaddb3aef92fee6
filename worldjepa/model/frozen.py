"""Encoders that are taken as they are: a pretrained one of ours, or a timm backbone by name."""

from __future__ import annotations

from typing import Any

import timm
import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from worldjepa.model.encoder import VideoEncoder
from worldjepa.model.frames import PIXEL_MEAN, PIXEL_STD
from worldjepa.types import Grid


class TimmBackbone(nn.Module):
    """A timm model as an encoder of single frames: the patch tokens, or the last map of features.

    Frames come normalised as everywhere here (ImageNet's statistics) and are normalised as the backbone was
    trained. ``name`` must be a plain one of timm's registry, which never names a place to download code or
    weights from; ``pretrained`` fetches the registry's own weights.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, name: str, *, image_size: int, pretrained: bool):
        super().__init__()
        if not timm.is_model(name):
            near = ", ".join(timm.list_models(f"{name[:12]}*")[:5])
            raise ValueError(
                f"timm has no model {name!r}; pass a plain name of its registry, such as "
                f"vit_small_patch14_dinov2{f'; there are {near}' if near else ''}"
            )
        registered = timm.get_pretrained_cfg(name)
        sized = registered is not None and registered.fixed_input_size  # its positions are for one size
        settings: dict[str, Any] = {"img_size": image_size} if sized else {}
        self.net: Any = timm.create_model(name, pretrained=pretrained, num_classes=0, **settings)
        mean, std = (torch.tensor(self.net.pretrained_cfg[key]) for key in ("mean", "std"))
        ours = torch.tensor(PIXEL_MEAN), torch.tensor(PIXEL_STD)
        self.register_buffer("scale", (ours[1] / std).view(3, 1, 1), persistent=False)
        self.register_buffer("shift", ((ours[0] - mean) / std).view(3, 1, 1), persistent=False)
        self.latent_dim: int = self.net.num_features

    def tokens(self, frames: Float[Tensor, "b f c y x"]) -> Float[Tensor, "b t p d"]:
        """Return the tokens of each frame, row by row."""
        b = frames.shape[0]
        features = self.net.forward_features(frames.flatten(0, 1) * self.scale + self.shift)
        if features.ndim == 3:
            features = features[:, getattr(self.net, "num_prefix_tokens", 0) :]
        elif getattr(self.net, "output_fmt", "NCHW") == "NHWC":
            features = rearrange(features, "n y x d -> n (y x) d")
        else:
            features = rearrange(features, "n d y x -> n (y x) d")
        return features.unflatten(0, (b, -1))

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

    frames_per_step = 1

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
