"""The latents that probes read: of every clip once, in several ways side by side.

A way turns clips into tokens ``[b t p d]``: the target encoder, the context encoder beside it, the encoder
before training, and raw patches, which are what any encoder sees. All probes read them from here, in half
precision, from memory or, where they are large, from a file that vanishes with the process.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Float16, Int, Shaped
from torch import Tensor

from worldjepa.evaluation.foresight import foresee
from worldjepa.evaluation.probes import Features
from worldjepa.model.encoder import VideoEncoder
from worldjepa.model.frozen import FrozenEncoder
from worldjepa.model.iris.tokenizer import FrameTokenizer
from worldjepa.model.world_model import WorldModel
from worldjepa.types import Batch, Grid

Way = Callable[[Tensor], Tensor]
IN_MEMORY = 1 << 30  # bytes of latents of one way that are kept in memory
PATCH_SIDE = 4  # a raw patch is averaged down to so many pixels square
PLACES = 4  # raw patches are averaged to a grid of so many places square, where a probe takes one vector
TARGET, ENCODER, CONTEXT = "target encoder", "encoder", "context encoder"
UNTRAINED, RAW = "untrained encoder", "raw patches"


@dataclass(frozen=True)
class Latents:
    """Tokens of labelled clips, by way. Views of a clip stand next to each other, ``views`` of each.

    ``labels`` and ``paths`` are those of the clips, one for all of its views.
    """

    tokens: Mapping[str, Float16[Tensor, "n t p d"]]
    labels: Int[Tensor, " clips"]
    paths: tuple[str, ...]
    grid: Grid
    views: int = 1

    def features(self, way: str) -> Features:
        """Return one vector a view: tokens averaged over space (raw ones over places), each latent step's."""
        tokens = self.tokens[way].float()
        labels = self.labels.repeat_interleave(self.views)
        if way != RAW:
            return Features(tokens.mean(dim=2).flatten(1), labels)
        planes = rearrange(tokens, "n t (h w) d -> (n t) d h w", h=self.grid.h)
        side = (min(self.grid.h, PLACES), min(self.grid.w, PLACES))
        return Features(F.adaptive_avg_pool2d(planes, side).reshape(len(tokens), -1), labels)


def ways_of(model: WorldModel, untrained: WorldModel, beside: Iterable[str]) -> dict[str, Way]:
    """Return the encoder that ``encode`` uses, and of ``beside`` context, untrained and raw what there is."""
    named: dict[str, tuple[str, Way]] = {
        "context": (CONTEXT, _tokens(model, patch_encoder(model, target=False))),
        "untrained": (UNTRAINED, _tokens(untrained, patch_encoder(untrained))),
        "raw": (RAW, lambda x: raw_patches(model, x)),
    }
    chosen = [name for name in beside if name != "context" or model.target_encoder is not None]
    return {encoder_name(model): _tokens(model, patch_encoder(model))} | dict(named[name] for name in chosen)


def encoder_name(model: WorldModel) -> str:
    """Return what the encoder that ``encode`` uses is called."""
    return ENCODER if model.target_encoder is None else TARGET


def patch_encoder(model: WorldModel, *, target: bool = True) -> VideoEncoder | FrozenEncoder | FrameTokenizer:
    """Return the encoder whose patch tokens the latents are made of: the target's, where there is one."""
    return model.target_encoder if target and model.target_encoder is not None else model.encoder


def _tokens(model: WorldModel, encoder: VideoEncoder | FrozenEncoder | FrameTokenizer) -> Way:
    return lambda frames: model.normalise(encoder.tokens(model.prepare(frames)))


def token_grid(model: WorldModel, frames: Shaped[Tensor, "b f c y x"]) -> Grid:
    """Return the grid of patch tokens of clips, before any pooling."""
    return model.encoder.grid(model.prepare(frames[:1]))


def raw_patches(model: WorldModel, frames: Shaped[Tensor, "b f c y x"]) -> Float[Tensor, "b t p d"]:
    """Return the pixels of each token's tubelet, averaged down to ``PATCH_SIDE`` pixels square."""
    grid, x = token_grid(model, frames), model.prepare(frames)
    b, f = x.shape[:2]
    size = (grid.h * PATCH_SIDE, grid.w * PATCH_SIDE)
    small = F.adaptive_avg_pool2d(x.flatten(0, 1), size).unflatten(0, (b, f))
    cut = "b (t dt) c (h dy) (w dx) -> b t (h w) (dt c dy dx)"
    return rearrange(small, cut, t=grid.t, h=grid.h, w=grid.w)


def anticipation_ways(model: WorldModel, given: int) -> dict[str, Way]:
    """Return ways to see ``given`` latent steps of a clip: alone, with what follows foreseen, and all of it.

    V-JEPA 2 anticipates so (arXiv:2506.09985, section 6): the masked predictor gives the latents of the
    future tubelets, and the probe reads them with those observed.
    """
    return {
        "observed": lambda frames: foresee(model, frames, given)[0],
        "observed and foreseen": lambda frames: torch.cat(foresee(model, frames, given), dim=1),
        "whole clip": _tokens(model, patch_encoder(model)),
    }


@torch.no_grad()
def read_latents(
    batches: Iterable[Batch], ways: Mapping[str, Way], grid: Grid, *, rows: int, views: int, folder: Path
) -> Latents:
    """Read every clip once in every way. ``rows``: at most so many views come; files go into ``folder``."""
    kept: dict[str, Tensor] = {}
    labels, paths, filled = [], [], 0
    for batch in batches:
        assert batch.labels is not None
        found = {name: way(batch.frames).to("cpu", torch.float16) for name, way in ways.items()}
        for name, part in found.items():
            if name not in kept:
                kept[name] = _room((rows, *part.shape[1:]), folder)
            kept[name][filled : filled + len(part)] = part
        filled += len(batch.labels)
        labels.append(batch.labels)
        paths += batch.paths
    assert filled % views == 0, "all views of a clip are read, or none"
    joined = torch.cat(labels) if labels else torch.zeros(0, dtype=torch.long)
    tokens = {name: part[:filled] for name, part in kept.items()}
    return Latents(tokens, joined[::views], tuple(paths[::views]), grid, views)


def _room(shape: tuple[int, ...], folder: Path) -> Tensor:
    """Return room for half-precision numbers, in memory or in a file that nothing else can see."""
    numbers = torch.Size(shape).numel()
    if 2 * numbers <= IN_MEMORY:
        return torch.empty(shape, dtype=torch.float16)
    with tempfile.NamedTemporaryFile(dir=folder) as file:  # mapped: it stays until nothing reads it
        room = torch.from_file(file.name, shared=True, size=numbers, dtype=torch.float16)
    return room.reshape(shape)
