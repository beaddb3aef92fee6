"""The target encoder follows the context encoder: an exponential moving average of its parameters."""

from __future__ import annotations

import torch
from torch import nn


@torch.no_grad()
def update_target(target: nn.Module, source: nn.Module, momentum: float) -> None:
    """Move every parameter of ``target`` towards ``source``: ``target * momentum + source * (1 - momentum)``.

    One fused call for all parameters. Buffers stay as they are: each copy's BatchNorm keeps its own
    running statistics. Raises ``ValueError`` when the two modules have different parameters.
    """
    if not 0.0 <= momentum <= 1.0:
        raise ValueError(f"EMA momentum is {momentum}; it is the share of the old weights kept, 0 to 1")
    mine, theirs = dict(target.named_parameters()), dict(source.named_parameters())
    if mine.keys() != theirs.keys():
        odd = sorted(mine.keys() ^ theirs.keys())
        raise ValueError(f"target and source differ in {len(odd)} parameters, among them {odd[:5]}")
    if mine:
        starts: list[torch.Tensor] = list(mine.values())
        ends: list[torch.Tensor] = [theirs[name] for name in mine]
        torch._foreach_lerp_(starts, ends, 1.0 - momentum)  # pyright: ignore[reportPrivateImportUsage]
