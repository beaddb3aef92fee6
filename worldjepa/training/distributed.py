"""Several ranks, one run: start from torchrun's environment, agree, average, stop cleanly.

Every function also works without a process group, as rank 0 of 1. Collectives have a timeout and a
peer that died closes its connection: both raise here instead of waiting for ever.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor

logger = logging.getLogger(__name__)

# gloo, for flags and small objects that live on the CPU; None is the default group, gloo itself on a CPU
_control: dist.ProcessGroup | None = None


def rank() -> int:
    """Return this process's number, 0 without a process group."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """Return the number of ranks, 1 without a process group."""
    return dist.get_world_size() if dist.is_initialized() else 1


def is_main() -> bool:
    """Tell whether this is rank 0, the one that writes files and speaks."""
    return rank() == 0


def launched() -> bool:
    """Tell whether torchrun (or the like) started this process."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


@contextmanager
def process_group(device: str, *, timeout: float = 600.0) -> Iterator[torch.device]:
    """Join the ranks that torchrun started and yield this rank's device; leave them at the end.

    ``device`` is cpu (gloo) or cuda (NCCL; local rank ``i`` takes GPU ``i``). ``timeout`` in seconds
    bounds every collective. Without torchrun nothing is joined. After an error no rank is waited for:
    the closed connection makes the others raise.
    """
    global _control
    local = int(os.environ.get("LOCAL_RANK", "0")) if launched() else None
    if device == "cuda" and local is not None:
        if local >= torch.cuda.device_count():
            raise ValueError(
                f"local rank {local} has no GPU: {torch.cuda.device_count()} found; "
                "lower torchrun's --nproc-per-node or set device=cpu"
            )
        torch.cuda.set_device(local)
    here = torch.device(device, local) if device == "cuda" and local is not None else torch.device(device)
    if local is None:
        yield here
        return
    bound = timedelta(seconds=timeout)
    if device == "cuda":
        dist.init_process_group("nccl", timeout=bound, device_id=here)
        control = dist.new_group(backend="gloo", timeout=bound)
        assert isinstance(control, dist.ProcessGroup)
        _control = control
    else:
        dist.init_process_group("gloo", timeout=bound)
    clean = False
    try:
        yield here
        barrier(timeout)  # nobody tears the connections down while another still talks
        clean = True
    finally:
        _control = None
        if clean or device != "cuda":  # NCCL would first wait for what is in flight: leave that to the exit
            dist.destroy_process_group()


def barrier(timeout: float = 600.0) -> None:
    """Wait until every rank is here; after ``timeout`` seconds raise ``RuntimeError`` naming who is not."""
    if world_size() > 1:
        bound = timedelta(seconds=timeout)
        dist.monitored_barrier(_control, timeout=bound, wait_all_ranks=True)


@contextmanager
def main_first(timeout: float = 3600.0) -> Iterator[None]:
    """Let rank 0 do the block before the others do (a download, a rendering: the others find it done)."""
    if not is_main():
        barrier(timeout)
    yield
    if is_main():
        barrier(timeout)


def all_true(flag: bool) -> bool:
    """Tell whether ``flag`` is true on every rank."""
    if world_size() == 1:
        return flag
    vote = torch.tensor(int(flag), dtype=torch.int32)
    dist.all_reduce(vote, dist.ReduceOp.MIN, group=_control)
    return bool(vote.item())


def gather_objects(value: Any) -> list[Any]:
    """Return every rank's ``value``, in rank order, on every rank.

    Values travel as JSON (never pickled), so tuples come back as lists and keys as strings, also with
    a single rank.
    """
    mine = json.dumps(value).encode()
    if world_size() == 1:
        return [json.loads(mine)]
    sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(world_size())]
    dist.all_gather(sizes, torch.tensor([len(mine)]), group=_control)
    longest = max(int(size) for size in sizes)
    padded = torch.zeros(longest, dtype=torch.uint8)
    padded[: len(mine)] = torch.frombuffer(bytearray(mine), dtype=torch.uint8)
    texts = [torch.empty_like(padded) for _ in sizes]
    dist.all_gather(texts, padded, group=_control)
    return [json.loads(bytes(t[: int(n)].tolist())) for t, n in zip(texts, sizes, strict=True)]


# --- batch statistics ----------------------------------------------------------------------------


class _MeanOverRanks(torch.autograd.Function):
    """Mean over ranks forward; mean over ranks of the gradients backward.

    With the mean over ranks that DDP takes of the parameters' gradients, this gives the gradient of the
    ranks' mean loss, as one process with the whole batch has it.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return _reduce(values)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return _reduce(gradient)


def _reduce(values: Tensor) -> Tensor:
    total = values.detach().clone(memory_format=torch.contiguous_format)
    dist.all_reduce(total, dist.ReduceOp.SUM)
    return total / world_size()


def all_reduce_mean(values: Float[Tensor, "*axes"]) -> Float[Tensor, "*axes"]:
    """Return the mean of ``values`` over the ranks, differentiable.

    For batch statistics (BatchNorm, variance, covariance, SIGReg): take the mean over the rank's rows,
    then this. Ranks must hold equally many rows and call it in the same order.
    """
    return _MeanOverRanks.apply(values) if world_size() > 1 else values
