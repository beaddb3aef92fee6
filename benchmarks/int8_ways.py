"""The ways in which ``benchmarks.int8`` runs a model: precisions, and kinds of int8."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from worldjepa.model.layers.block import Block
from worldjepa.model.layers.modulation import AdaLN
from worldjepa.model.quantize import Int8Linear, quantized
from worldjepa.model.world_model import WorldModel

BASELINE = "bf16"


@dataclass(frozen=True)
class Way:
    """A model, and whether its products are made under bf16 autocast."""

    model: WorldModel
    bf16: bool = False

    @contextlib.contextmanager
    def running(self) -> Iterator[WorldModel]:
        """Yield the model, in its precision, without gradients."""
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            yield self.model


class FbgemmLinear(nn.Module):
    """torch's dynamically quantised linear map: int8 activations with one scale for all rows."""

    def __init__(self, linear: Int8Linear):
        super().__init__()
        weight, zeros = linear.weight * linear.scale.unsqueeze(1), torch.zeros(len(linear.scale)).long()
        packed = torch.quantize_per_channel(weight, linear.scale.double(), zeros, 0, torch.qint8)
        self.packed = torch.ops.quantized.linear_prepack(packed, linear.bias)

    def forward(self, input: Tensor, *, gelu: bool = False) -> Tensor:
        """Map the last axis; apply GELU if asked."""
        out = torch.ops.quantized.linear_dynamic(input.float(), self.packed)
        return (nn.functional.gelu(out) if gelu else out).to(input.dtype)


def fbgemm(model: WorldModel) -> WorldModel:
    """Return a copy whose int8 maps are fbgemm's."""
    model, torch.backends.quantized.engine = quantized(model), "fbgemm"
    for part in list(model.modules()):
        for name, child in list(part.named_children()):
            if isinstance(child, Int8Linear):
                setattr(part, name, FbgemmLinear(child))
    return model


def bf16(model: WorldModel) -> WorldModel:
    """Return a copy whose transformer blocks keep their weights in bf16: autocast has nothing to convert."""
    model = copy.deepcopy(model)
    for part in model.modules():
        if isinstance(part, Block | AdaLN):
            for child in part.modules():
                if isinstance(child, nn.Linear):
                    child.to(torch.bfloat16)
    return model


def ways(model: WorldModel) -> dict[str, Way]:
    """Return every way to run a model."""
    eight = {
        "int8 weights": quantized(model),
        "int8 weights and activations": quantized(model, "activations"),
        "the same by fbgemm": fbgemm(model),
    }
    return {
        "float32": Way(model),
        BASELINE: Way(bf16(model), bf16=True),
        **{name: Way(made) for name, made in eight.items()},
        **{f"{name}, else bf16": Way(made, bf16=True) for name, made in eight.items()},
    }
