"""Models whose weights are int8, for small computers: a quarter of the memory of float32.

The weights of the transformer blocks' linear maps are kept as int8, symmetric, one scale for each output. Two
ways to multiply by them:

``weights``      activations stay bf16 (float32 on a CPU without bf16 products): a few rows by a kernel that
                 reads int8 weights, many by oneDNN on weights widened for the call;
``activations``  activations are rounded to int8 as well, each row by its own largest number, so that a row
                 of a batch still equals that row alone; products in int32.

``benchmarks/results/int8.md`` has what each costs in accuracy and gains in time.
"""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from worldjepa.model.layers.block import Block
from worldjepa.model.layers.linear import Linear
from worldjepa.model.layers.modulation import AdaLN
from worldjepa.model.layers.precision import bf16_products, compute_dtype
from worldjepa.model.world_model import WorldModel

MODES = ("weights", "activations")
FEW_ROWS = 4  # up to here the kernel that reads int8 weights beats widening them first
VECTOR = 32  # ... and it reads whole vectors: past the end of rows of another width (a segmentation fault)


class Int8Linear(nn.Module):
    """A ``Linear`` for inference on a CPU with its weights in int8.

    Results have autocast's precision, or the input's.
    """

    weight: Tensor
    scale: Tensor
    bias: Tensor | None

    def __init__(self, linear: nn.Linear, mode: str):
        super().__init__()
        self.mode = mode
        scale = (linear.weight.detach().float().abs().amax(dim=1) / 127).clamp_min(
            torch.finfo(torch.float32).tiny
        )
        weight = (linear.weight.detach().float() / scale.unsqueeze(1)).round()
        self.register_buffer("weight", weight.to(torch.int8))
        self.register_buffer("scale", scale)
        self.register_buffer("bias", None if linear.bias is None else linear.bias.detach().float())

    def forward(self, input: Float[Tensor, "*b i"], *, gelu: bool = False) -> Float[Tensor, "*b o"]:
        """Map the last axis; apply GELU if asked."""
        rows = input.flatten(0, -2)
        products = self._by_int8(rows) if self.mode == "activations" else self._by_weights(rows)
        out = products if self.bias is None else products + self.bias
        out = F.gelu(out) if gelu else out
        return out.to(compute_dtype(input)).unflatten(0, input.shape[:-1])

    def _by_weights(self, rows: Float[Tensor, "n i"]) -> Float[Tensor, "n o"]:
        dtype = torch.bfloat16 if bf16_products() else torch.float32
        if len(rows) <= FEW_ROWS and rows.shape[1] % VECTOR == 0 and dtype == torch.bfloat16:
            return torch.ops.aten._weight_int8pack_mm(rows.to(dtype), self.weight, self.scale.to(dtype))
        return F.linear(rows.to(dtype), self.weight.to(dtype)) * self.scale

    def _by_int8(self, rows: Float[Tensor, "n i"]) -> Float[Tensor, "n o"]:
        rows = rows.float()
        scale = (rows.abs().amax(dim=1, keepdim=True) / 127).clamp_min(torch.finfo(torch.float32).tiny)
        whole = (rows / scale).round_().to(torch.int8)
        return torch.ops.aten._int_mm(whole, self.weight.t()).float() * scale * self.scale


def quantized(model: WorldModel, mode: str = "weights") -> WorldModel:
    """Return a copy of a model on the CPU whose transformer blocks have int8 weights, in eval mode.

    ``encode``, ``rollout`` and the rest work as before, without gradients.

    Args:
        model: in float32.
        mode: weights, or activations (these as well).

    Raises:
        ValueError: another mode, or a model without transformer blocks of ours.
    """
    if mode not in MODES:
        raise ValueError(f"mode must be one of {', '.join(MODES)}, got {mode!r}")
    model = copy.deepcopy(model).cpu().float().eval().requires_grad_(False)
    parts = [part for part in model.modules() if isinstance(part, Block | AdaLN)]
    if not parts:
        raise ValueError("the model has no transformer blocks of ours whose weights could be int8")
    for part in parts:
        holders = [part.attn, part.mlp] if isinstance(part, Block) else [part]
        for holder in holders:
            for name, child in list(holder.named_children()):
                if isinstance(child, Linear):
                    setattr(holder, name, Int8Linear(child, mode))
    return model


def weight_bytes(model: nn.Module) -> int:
    """Return the bytes of a model's parameters and buffers."""
    return sum(tensor.nbytes for tensor in [*model.parameters(), *model.buffers()])
