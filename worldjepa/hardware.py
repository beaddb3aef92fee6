"""What the machine can do, as far as settings depend on it. No torch."""

from __future__ import annotations

import os
import re
from functools import cache
from pathlib import Path

from worldjepa.config import TrainConfig

BF16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}  # x86, x86, ARM


@cache
def cpu_has_bf16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Tell whether the CPU multiplies bfloat16 in hardware (elsewhere bf16 is slower than float32).

    False where the system does not say (no ``/proc/cpuinfo``).
    """
    try:
        text = cpuinfo.read_text()
    except OSError:
        return False
    found = re.search(r"^(?:flags|Features)\s*:(.*)$", text, re.MULTILINE)
    return found is not None and not BF16_FLAGS.isdisjoint(found.group(1).split())


def batch_size_for(config: TrainConfig, memory: int, ranks: int = 1) -> int:
    """Return the global batch size that fits ``memory`` bytes a device, a multiple of 8 clips a rank.

    An estimate: 20 bytes a parameter (weights, gradients, two moments, target encoder, in float32) and
    34 bytes a token, block and dimension of bf16 activations (arXiv:2205.05198, equation 2, without
    the attention matrix, which is never stored); a fifth of the memory is left free. The encoder keeps
    about 0.4 of the tokens over both masks of the recipe, the predictor sees all of them twice. With
    activation checkpointing only the blocks' inputs stay, a tenth of that.
    """
    encoder, predictor, data = config.model.encoder, config.model.masked_predictor, config.data
    assert data.num_frames is not None and data.size is not None
    steps = data.num_frames // (encoder.frames_per_step or encoder.tubelet_size)
    tokens = steps * (data.size // encoder.patch_size) ** 2
    weights = sum(net.depth * net.dim**2 * (4 + 2 * net.mlp_ratio) for net in (encoder, predictor))
    widths = 0.4 * encoder.depth * encoder.dim + 2 * predictor.depth * predictor.dim
    clip = 34 * tokens * widths * (0.1 if config.train.activation_checkpointing else 1.0)
    room = int((0.8 * memory - 20 * weights) / clip * config.train.accumulate)
    unit = 8 * config.train.accumulate
    return max(unit, room // unit * unit) * ranks


def usable_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def divide_cores(ranks: int = 1) -> tuple[int, int]:
    """Return (data workers, compute threads) for each rank that trains on this machine's CPU.

    A quarter of the cores decodes, the others compute. More threads than free cores would wait for each other
    at every operation: on two cores, two threads beside a worker were slower than one.
    """
    cores = max(1, usable_cores() // ranks)
    workers = max(1, cores // 4)
    return workers, max(1, cores - workers)
