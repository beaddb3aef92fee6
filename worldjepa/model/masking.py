"""Masking strategies: pure functions of ``(grid, batch_size, generator)`` that draw ``Masks``.

All rows of the (global) batch get the same number of context and of target tokens. Where rows come out
unequal, surplus tokens are dropped at random, never the last ones: cutting sorted ids would starve the end of
the clip. Sources: V-JEPA (arXiv:2404.08471, section 3.1 and appendix), I-JEPA (arXiv:2301.08243), MAE,
VideoMAE. The settings' dataclasses are in ``settings/masking.py``.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Mapping
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Generator, Tensor

from worldjepa.seeding import derive_seed
from worldjepa.types import Grid, Masks

MaskingStrategy = Callable[[Grid, int, Generator], Masks]
REDRAWS = 20  # tries for a row whose blocks cover everything, before one place is uncovered


def multi_block(
    grid: Grid,
    batch_size: int,
    generator: Generator,
    *,
    num_blocks: int = 8,
    spatial_scale: tuple[float, float] = (0.15, 0.15),
    aspect: tuple[float, float] = (0.75, 1.5),
    temporal_scale: tuple[float, float] = (1.0, 1.0),
) -> Masks:
    """Hide blocks of space over (most of) the time; the context is everything else.

    The blocks of a step share one size, as in V-JEPA; their places differ by row.
    """
    size = _block_size(grid, generator, spatial_scale, aspect, temporal_scale)
    hidden = _blocks_leaving_context(grid, batch_size, generator, size, num_blocks, grid.t)
    return _masks(~hidden, hidden, generator)


def causal_multi_block(
    grid: Grid,
    batch_size: int,
    generator: Generator,
    *,
    num_blocks: int = 8,
    spatial_scale: tuple[float, float] = (0.15, 0.15),
    aspect: tuple[float, float] = (0.75, 1.5),
    temporal_scale: tuple[float, float] = (1.0, 1.0),
    context_share: float = 0.5,
) -> Masks:
    """Hide blocks as ``multi_block`` does; the context is what they leave of the first latent steps."""
    first = _context_steps(grid, context_share)
    size = _block_size(grid, generator, spatial_scale, aspect, temporal_scale)
    hidden = _blocks_leaving_context(grid, batch_size, generator, size, num_blocks, first)
    context = ~hidden & (torch.arange(grid.n) < first * grid.p)
    return _masks(context, hidden, generator)


def random_tube(grid: Grid, batch_size: int, generator: Generator, *, ratio: float = 0.75) -> Masks:
    """Hide the same random places in every latent step."""
    places = _random_choice(batch_size, grid.p, ratio, generator)
    hidden = places.repeat(1, grid.t)
    return _masks(~hidden, hidden, generator)


def random_tokens(grid: Grid, batch_size: int, generator: Generator, *, ratio: float = 0.75) -> Masks:
    """Hide random tokens, wherever they stand."""
    hidden = _random_choice(batch_size, grid.n, ratio, generator)
    return _masks(~hidden, hidden, generator)


def block(
    grid: Grid,
    batch_size: int,
    generator: Generator,
    *,
    num_targets: int = 4,
    target_scale: tuple[float, float] = (0.15, 0.2),
    target_aspect: tuple[float, float] = (0.75, 1.5),
    context_scale: tuple[float, float] = (0.85, 1.0),
) -> Masks:
    """Predict a few blocks from one large block less them (I-JEPA); the same places in every latent step."""
    image, whole = Grid(1, grid.h, grid.w), (1.0, 1.0)
    target_size = _block_size(image, generator, target_scale, target_aspect, whole)
    context_size = _block_size(image, generator, context_scale, whole, whole)
    target = _draw_blocks(image, batch_size, generator, target_size, num_targets)
    context = _draw_blocks(image, batch_size, generator, context_size, 1) & ~target
    for _ in range(REDRAWS):
        empty = ~context.any(dim=1)
        if not empty.any():
            break
        target[empty] = _draw_blocks(image, int(empty.sum()), generator, target_size, num_targets)
        context[empty] = ~target[empty]
    _uncover(target, context, image, generator)
    masks = _masks(context, target, generator)
    return Masks(_in_every_step(masks.context, grid), _in_every_step(masks.target, grid))


def future(grid: Grid, batch_size: int, generator: Generator, *, context_share: float = 0.5) -> Masks:
    """Predict the later latent steps from the first ones."""
    first = _context_steps(grid, context_share)
    ids = torch.arange(grid.n).expand(batch_size, -1)
    return Masks(ids[:, : first * grid.p].contiguous(), ids[:, first * grid.p :].contiguous())


def random_frames(grid: Grid, batch_size: int, generator: Generator, *, ratio: float = 0.5) -> Masks:
    """Hide random latent steps, whole."""
    _needs_time(grid, "random_frames")
    hidden = _random_choice(batch_size, grid.t, ratio, generator).repeat_interleave(grid.p, dim=1)
    return _masks(~hidden, hidden, generator)


STRATEGIES: dict[str, MaskingStrategy] = {
    "multi_block": multi_block,
    "causal_multi_block": causal_multi_block,
    "random_tube": random_tube,
    "random_tokens": random_tokens,
    "block": block,
    "future": future,
    "random_frames": random_frames,
}


def build_strategy(settings: Mapping[str, Any]) -> MaskingStrategy:
    """Return the strategy that ``{strategy: name, ...}`` or ``{_target_: package.function, ...}`` describes.

    The rest of ``settings`` are keyword arguments of that function. ``_target_`` is for a user's own function
    and comes from the user's own command and files only (never from a checkpoint).

    Raises:
        ValueError: the user's function cannot be imported.
    """
    arguments = dict(settings)
    if "_target_" in arguments:
        module, _, name = str(arguments.pop("_target_")).rpartition(".")
        try:
            function = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError) as error:
            raise ValueError(
                f"masking: _target_={module}.{name} cannot be imported ({error}); it has to be a function of "
                "a module that python finds (PYTHONPATH, or an installed package)"
            ) from error
    else:
        function = STRATEGIES[arguments.pop("strategy")]
    return functools.partial(function, **arguments)


def draw_masks(
    strategies: tuple[MaskingStrategy, ...], grid: Grid, batch_size: int, *, seed: int, step: int
) -> tuple[Masks, ...]:
    """Draw one ``Masks`` a setting for the whole global batch: a function of (seed, step) alone."""
    generator = torch.Generator().manual_seed(derive_seed(seed, step))
    return tuple(strategy(grid, batch_size, generator) for strategy in strategies)


def _block_size(
    grid: Grid,
    generator: Generator,
    spatial_scale: tuple[float, float],
    aspect: tuple[float, float],
    temporal_scale: tuple[float, float],
) -> Grid:
    """Draw the size in tokens of the blocks of one step."""
    share, ratio, time = (
        low + (high - low) * float(torch.rand((), generator=generator))
        for low, high in (spatial_scale, aspect, temporal_scale)
    )
    area = share * grid.p
    h = min(max(round((area * ratio) ** 0.5), 1), grid.h)
    w = min(max(round((area / ratio) ** 0.5), 1), grid.w)
    return Grid(min(max(round(time * grid.t), 1), grid.t), h, w)


def _draw_blocks(
    grid: Grid, rows: int, generator: Generator, size: Grid, num_blocks: int
) -> Bool[Tensor, "rows n"]:
    """Return the union of randomly placed blocks of one size, a row each."""
    covered = []
    for length, extent in zip(grid, size, strict=True):
        start = torch.randint(length - extent + 1, (rows, num_blocks, 1), generator=generator)
        cell = torch.arange(length)
        covered.append((cell >= start) & (cell < start + extent))
    t, h, w = covered
    return torch.einsum("rbt,rbh,rbw->rthw", t.float(), h.float(), w.float()).flatten(1) > 0


def _blocks_leaving_context(
    grid: Grid, rows: int, generator: Generator, size: Grid, num_blocks: int, first: int
) -> Bool[Tensor, "rows n"]:
    """Draw blocks until something of the first latent steps stays visible in every row."""
    hidden = _draw_blocks(grid, rows, generator, size, num_blocks)
    for _ in range(REDRAWS):
        full = hidden[:, : first * grid.p].all(dim=1)
        if not full.any():
            break
        hidden[full] = _draw_blocks(grid, int(full.sum()), generator, size, num_blocks)
    context = ~hidden & (torch.arange(grid.n) < first * grid.p)
    _uncover(hidden, context, grid, generator)
    return hidden


def _uncover(hidden: Tensor, context: Tensor, grid: Grid, generator: Generator) -> None:
    """Give a row whose blocks cover everything one random place as context (in place)."""
    place = torch.randint(grid.p, (len(hidden), 1), generator=generator)
    empty = ~context.any(dim=1, keepdim=True)
    tube = (torch.arange(grid.n) % grid.p == place) & empty
    hidden &= ~tube
    context |= tube


def _random_choice(rows: int, size: int, ratio: float, generator: Generator) -> Bool[Tensor, "rows size"]:
    """Choose ``ratio`` of ``size`` at random in each row, at least one and never all."""
    if size < 2:
        raise ValueError(f"masking needs at least 2 cells to choose from, the clip's grid has {size}")
    hidden = min(max(round(ratio * size), 1), size - 1)
    ranks = torch.rand(rows, size, generator=generator).argsort(dim=1).argsort(dim=1)
    return ranks < hidden


def _context_steps(grid: Grid, share: float) -> int:
    _needs_time(grid, "a context of the first frames")
    return min(max(round(share * grid.t), 1), grid.t - 1)


def _needs_time(grid: Grid, who: str) -> None:
    if grid.t < 2:
        raise ValueError(f"{who} needs at least 2 latent steps, the clip has {grid.t}; raise data.num_frames")


def _in_every_step(ids: Int[Tensor, "b k"], grid: Grid) -> Int[Tensor, "b tk"]:
    """Return the ids of places of an image in all latent steps of a clip."""
    return (ids.unsqueeze(1) + grid.p * torch.arange(grid.t).unsqueeze(1)).flatten(1)


def _masks(context: Tensor, target: Tensor, generator: Generator) -> Masks:
    """Turn per-row choices into sorted ids of equal count, dropping surplus tokens at random."""
    return Masks(_equal_ids(context, generator), _equal_ids(target, generator))


def _equal_ids(chosen: Bool[Tensor, "b n"], generator: Generator) -> Int[Tensor, "b k"]:
    fewest = int(chosen.sum(dim=1).min())
    assert fewest > 0, "a masking strategy left a row without tokens"
    draw = torch.rand(chosen.shape, generator=generator).masked_fill(~chosen, -1.0)
    return draw.topk(fewest, dim=1).indices.sort(dim=1).values
