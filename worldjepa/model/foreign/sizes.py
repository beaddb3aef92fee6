"""The settings of a transformer, read off its tensors."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from worldjepa.model.foreign.contents import ForeignError

# Attention heads cannot be read off tensors: those of the published sizes, by width
# (facebookresearch/jepa and vjepa2, vision_transformer.py; ViT-g and ViT-G with the heads of V-JEPA 2).
ENCODER_HEADS = {192: 3, 384: 6, 768: 12, 1024: 16, 1280: 16, 1408: 22, 1664: 26}
PREDICTOR_HEADS = {384: 12, 1024: 16}  # of masked prediction, and of V-JEPA 2-AC


def heads_of(dim: int, asked: int | None, table: Mapping[int, int], setting: str) -> int:
    """Return how many attention heads a transformer ``dim`` wide has: ``asked``, or a published size's.

    Raises:
        ForeignError: none was asked for and the width is not a published one, or they do not divide it.
    """
    heads = table.get(dim) if asked is None else asked
    if heads is None:
        raise ForeignError(
            f"the weights are {dim} wide, which is no published size ({', '.join(map(str, table))}), and "
            f"do not say how many attention heads they have; set {setting}="
        )
    if heads < 1 or dim % heads or dim // heads % 2:
        raise ForeignError(f"{setting}={heads} does not divide a width of {dim} into heads of even width")
    return heads


def transformer_sizes(tensors: Mapping[str, Tensor], num_heads: int, where: str) -> dict[str, Any]:
    """Return dim, depth, num_heads and mlp_ratio of a transformer from its tensors in our names.

    Raises:
        ForeignError: a tensor that says one of them, or a block, is missing.
    """
    dim = length_of(tensors, "norm.weight", where)
    hidden = length_of(tensors, "blocks.0.mlp.fc1.weight", where)
    numbers = {int(match[1]) for name in tensors if (match := re.match(r"blocks\.(\d+)\.", name))}
    if max(numbers) + 1 != len(numbers):
        raise ForeignError(
            f"{where}: blocks go up to number {max(numbers)}, but there are {len(numbers)} of them"
        )
    ratio = hidden / dim
    if int(dim * ratio) != hidden:  # rounding; models take the whole part
        ratio = math.nextafter(ratio, math.inf)
    return {"dim": dim, "depth": len(numbers), "num_heads": num_heads, "mlp_ratio": ratio}


def tubelet_sizes(kernel: Tensor, where: str) -> dict[str, int]:
    """Return patch and tubelet size from a convolution's kernel ``[d c t y x]``, or ``[d c y x]`` of images.

    Raises:
        ForeignError: a kernel of another form.
    """
    shape = tuple(kernel.shape)
    if kernel.ndim not in (4, 5) or shape[1] != 3 or shape[-1] != shape[-2]:
        raise ForeignError(
            f"{where}: the patch embedding's kernel is {shape}, expected [d 3 t y y] or [d 3 y y]"
        )
    return {"patch_size": shape[-1], "tubelet_size": shape[2] if kernel.ndim == 5 else 1}


def length_of(tensors: Mapping[str, Tensor], name: str, where: str) -> int:
    """Return the rows of a tensor that has to be there.

    Raises:
        ForeignError: it is not, or has none.
    """
    tensor = tensor_of(tensors, name, where)
    if tensor.ndim == 0 or len(tensor) == 0:
        raise ForeignError(f"{where}: {name} is {tuple(tensor.shape)}; expected weights")
    return len(tensor)


def tensor_of(tensors: Mapping[str, Tensor], name: str, where: str) -> Tensor:
    """Return a tensor that has to be there.

    Raises:
        ForeignError: it is not; nothing can be built without its shape.
    """
    if name not in tensors:
        raise ForeignError(f"{where} has no {name}, from which its size is read; the file is not whole")
    return tensors[name]
