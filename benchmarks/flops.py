"""Floating-point operations of a training step, decoder and target encoder included."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from worldjepa.build import build_model
from worldjepa.build_objective import build_objective, build_strategies
from worldjepa.model.masking import draw_masks
from worldjepa.settings.compose import compose, fill
from worldjepa.types import Batch

ATEN = torch.ops.aten
CPU_KERNELS = {  # which not every version of torch counts
    torch.ops.mkldnn._linear_pointwise: lambda x, w, *_, **__: 2 * math.prod(x) * w[0],
    ATEN._scaled_dot_product_flash_attention_for_cpu: lambda q, k, v, *_, **__: sdpa_flop_count(q, k, v),
    ATEN._scaled_dot_product_flash_attention_for_cpu_backward: (
        lambda g, q, k, v, *_, **__: sdpa_backward_flop_count(g, q, k, v)
    ),
}
DRAWS = 16  # of masks, whose sizes differ


def flops_per_step(words: Sequence[str]) -> float:
    """Return the operations of forward and backward pass of a step of the run that ``words`` ask for.

    Products count, each multiplication and addition as one; the mean over some draws of the masks. They are
    counted for two clips and multiplied.
    """
    config, _ = fill(compose(words), words, "cpu")
    data, batch = config.data, config.train.batch_size
    assert data.num_frames is not None and data.size is not None and batch is not None
    model = build_model(config)
    objective, strategies = build_objective(config, model), build_strategies(config)
    frames = torch.zeros(2, data.num_frames, 3, data.size, data.size, dtype=torch.uint8)
    clips, grid, draws = Batch(frames, second=frames), model.encoder.grid(frames), DRAWS if strategies else 1
    total = 0
    for step in range(draws):
        masks = draw_masks(strategies, grid, 2, seed=config.seed, step=step)
        with FlopCounterMode(display=False, custom_mapping=CPU_KERNELS) as counter:
            objective.total(objective(clips, masks)[0]).backward()
        total += counter.get_total_flops()
    return total / draws * batch / 2
