"""Heads on frozen tokens: one for each learning rate and weight decay, all trained at the same time.

As V-JEPA 2 trains its probes (arXiv:2506.09985, appendix): every batch of cached tokens is read once for all
settings. The one to report is chosen on every fifth clip of the training part, which none is trained on, and
never on the held-out ones.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int, Shaped
from torch import Tensor, nn

from worldjepa.evaluation.probes import NoProbeError
from worldjepa.seeding import derive_seed

WARMUP = 0.1  # of the steps
FIFTH = 5

Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Schedule:
    """How heads are trained; ``lrs`` and ``weight_decays`` are tried in all combinations.

    ``bf16``: matrix products in bfloat16 while training.
    """

    lrs: Sequence[float]
    weight_decays: Sequence[float]
    epochs: int
    batch_size: int = 64
    seed: int = 0
    bf16: bool = False

    @property
    def settings(self) -> list[tuple[float, float]]:
        """Every learning rate with every weight decay."""
        return list(itertools.product(self.lrs, self.weight_decays))


@dataclass(frozen=True)
class Fitted:
    """The head chosen, its setting, and the score of each setting on the clips that chose."""

    head: nn.Module
    setting: tuple[float, float]
    scores: dict[str, float]


def fit_heads(
    tokens: Shaped[Tensor, "n t p d"],
    make: Callable[[], nn.Module],
    loss: Loss,
    score: Loss,
    schedule: Schedule,
    device: torch.device,
) -> Fitted:
    """Train heads on frozen tokens and return the best.

    Args:
        tokens: of every clip, in half precision, on the CPU.
        make: returns a fresh head; it is called under a seed.
        loss: of a head's output for the clips ``ids``, both given: one number.
        score: of the output of all clips that choose, likewise; the higher the better.
        schedule: settings and length.
        device: where to train.

    Raises:
        NoProbeError: fewer than 10 clips.
    """
    n = len(tokens)
    if n < 2 * FIFTH:
        raise NoProbeError(f"heads are fitted to {2 * FIFTH} clips or more, got {n}")
    held = (
        torch.randperm(n, generator=torch.Generator().manual_seed(derive_seed(schedule.seed, 0))) % FIFTH == 0
    )
    chooses, trains = held.nonzero().flatten(), (~held).nonzero().flatten()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(schedule.seed, 1))
        heads = [make().to(device) for _ in schedule.settings]
    _train(heads, tokens, trains, loss, schedule, device)
    scores = [float(score(apply(head, tokens[chooses], device), chooses)) for head in heads]
    best = max(range(len(heads)), key=scores.__getitem__)
    named = {
        f"lr={lr:g}, weight_decay={decay:g}": s
        for (lr, decay), s in zip(schedule.settings, scores, strict=True)
    }
    return Fitted(heads[best], schedule.settings[best], named)


@torch.no_grad()
def apply(
    head: nn.Module, tokens: Shaped[Tensor, "n t p d"], device: torch.device, batch: int = 256
) -> Tensor:
    """Return a head's output for every clip, on the CPU."""
    head.eval()
    parts = tokens.split(batch)
    return torch.cat([head(part.to(device, torch.float32)).float().cpu() for part in parts])


@torch.enable_grad()
def _train(
    heads: list[nn.Module],
    tokens: Tensor,
    rows: Int[Tensor, " k"],
    loss: Loss,
    schedule: Schedule,
    device: torch.device,
) -> None:
    optimizers = [
        torch.optim.AdamW(head.parameters(), lr=lr, weight_decay=decay)
        for head, (lr, decay) in zip(heads, schedule.settings, strict=True)
    ]
    generator = torch.Generator().manual_seed(derive_seed(schedule.seed, 2))
    batches = -(-len(rows) // schedule.batch_size)
    total = schedule.epochs * batches
    for epoch in range(schedule.epochs):
        order = rows[torch.randperm(len(rows), generator=generator)]
        for index, ids in enumerate(order.chunk(batches)):
            x = tokens[ids].to(device, torch.float32)
            pace = _pace(epoch * batches + index, total)
            for head, optimizer, (lr, _) in zip(heads, optimizers, schedule.settings, strict=True):
                optimizer.param_groups[0]["lr"] = lr * pace
                optimizer.zero_grad(set_to_none=True)
                with torch.autocast(device.type, torch.bfloat16, enabled=schedule.bf16):
                    out = head(x)
                loss(out.float(), ids).backward()
                optimizer.step()


def _pace(step: int, total: int) -> float:
    """Return the share of the learning rate: up over the first steps, then down along a cosine."""
    rise = max(1, round(WARMUP * total))
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, total - rise)))
