"""How published models call their tensors, and how these are laid out.

A table maps our names to theirs, without ``.weight`` and ``.bias``; ``{}`` is the number of a block. Where
they keep query, key and value apart, their name is a triple. ``to_ours`` reads a table forwards and
``to_theirs`` backwards. Three layouts differ, and are the same in all formats:

- the rows of query and key: their rotary pairs are neighbouring channels, ours stand half a head apart
  (``layers/rope.py``); put in our order, products of queries and keys, and so all latents, stay the same;
- the patch embedding: their convolution kernel ``[d c (t) y x]`` is our linear map ``[d c*t*y*x]``;
- mask tokens: theirs ``[number 1 1 d]``, ours ``[number d]``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from worldjepa.model.foreign.contents import ForeignError
from worldjepa.model.layers.rope import pair_order

Table = Mapping[str, str | tuple[str, str, str]]

_BLOCK = ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")
_PARTED = ("query", "key", "value")

# Hugging Face's VJEPA2Model, below "encoder." and "predictor."
_TRANSFORMERS_BLOCK: Table = {
    **{f"blocks.{{}}.{name}": f"layer.{{}}.{name}" for name in _BLOCK if "attn" not in name},
    "blocks.{}.attn.qkv": ("layer.{}.attention.query", "layer.{}.attention.key", "layer.{}.attention.value"),
    "blocks.{}.attn.proj": "layer.{}.attention.proj",
    "norm": "layernorm",
}
TRANSFORMERS_ENCODER: Table = {"embed.proj": "embeddings.patch_embeddings.proj", **_TRANSFORMERS_BLOCK}
TRANSFORMERS_PREDICTOR: Table = {
    "embed": "embeddings.predictor_embeddings",
    "mask_tokens": "embeddings.mask_tokens",
    **_TRANSFORMERS_BLOCK,
    "proj": "proj",
}

# facebookresearch/jepa and facebookresearch/vjepa2, without "module." and "backbone."
META_ENCODER: Table = {
    "embed.proj": "patch_embed.proj",
    **{f"blocks.{{}}.{name}": f"blocks.{{}}.{name}" for name in _BLOCK},
    "norm": "norm",
}
_META_PREDICTOR: Table = {
    "embed": "predictor_embed",
    **{f"blocks.{{}}.{name}": f"predictor_blocks.{{}}.{name}" for name in _BLOCK},
    "norm": "predictor_norm",
    "proj": "predictor_proj",
}
META_MASKED_PREDICTOR: Table = {**_META_PREDICTOR, "mask_tokens": "mask_tokens"}
META_ACTION_PREDICTOR: Table = {
    **_META_PREDICTOR,
    "action_embed": "action_encoder",
    "proprioception_embed": "state_encoder",
}


def to_ours(
    tensors: Mapping[str, Tensor], table: Table, *, num_heads: int, where: str = ""
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return tensors of one part by our names and in our layout, and what was done to those that changed.

    Args:
        tensors: by their names, without the name of the part.
        table: the names of such a part.
        num_heads: attention heads.
        where: the part's name in messages, such as ``encoder.``.

    Raises:
        ForeignError: a tensor that such a part does not have, a projection that lacks one of query, key and
            value, or widths that the heads do not divide.
    """
    known = {theirs: ours for ours, names in table.items() for theirs in _each(names)}
    ours: dict[str, Tensor] = {}
    done: dict[str, str] = {}
    for name, tensor in tensors.items():
        pattern, number, kind = _parsed(name)
        if pattern not in known:
            raise ForeignError(
                f"{where}{name} {tuple(tensor.shape)} has no place in the model that these weights are read "
                "as: it is of another architecture, or another version of it"
            )
        least = 1 if kind == ".bias" or "norm" in pattern else 2
        if tensor.ndim < least:
            raise ForeignError(f"{where}{name} is {tuple(tensor.shape)}; expected at least {least} axes")
        mine = known[pattern].replace("{}", number) + kind
        if mine in ours:
            continue  # taken together with its query
        names = table[known[pattern]]
        parts = [name]
        if isinstance(names, tuple):
            parts = [theirs.replace("{}", number) + kind for theirs in names]
            lacking = [part for part in parts if part not in tensors]
            if lacking:
                raise ForeignError(f"{where}{lacking[0]} is missing beside {where}{name}")
        found = [tensors[part] for part in parts]
        ours[mine] = _our_layout(mine, found, num_heads, where)
        if mine.split(".")[-2:-1] == ["qkv"]:
            done[mine] = ("joined, " if len(found) > 1 else "") + "rotary channels in our order"
        elif ours[mine].shape != tensor.shape:
            done[mine] = f"{_shape(tensor)} to {_shape(ours[mine])}"
    return ours, done


def to_theirs(
    tensors: Mapping[str, Tensor], table: Table, *, num_heads: int, kernel: tuple[int, ...]
) -> dict[str, Tensor]:
    """Return tensors of one part by their names and in their layout: ``to_ours`` backwards.

    Args:
        tensors: by our names, without the name of the part.
        table: the names of such a part.
        num_heads: attention heads.
        kernel: ``(channels, frames, rows, columns)`` of a tubelet.

    Raises:
        ForeignError: a tensor of ours that such a part does not have.
    """
    theirs: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        pattern, number, kind = _parsed(name)
        if pattern not in table:
            raise ForeignError(f"{name} {tuple(tensor.shape)} has no name in that format")
        names = [other.replace("{}", number) + kind for other in _each(table[pattern])]
        if pattern.endswith("attn.qkv"):
            tensor = reordered(tensor, num_heads, back=True)
        elif name == "embed.proj.weight":
            tensor = tensor.unflatten(1, kernel)
        elif name == "mask_tokens":
            tensor = tensor[:, None, None]
        theirs |= dict(zip(names, tensor.chunk(len(names)), strict=True))
    return theirs


def reordered(qkv: Float[Tensor, "d3 *into"], num_heads: int, *, back: bool = False) -> Tensor:
    """Return a joined projection's rows, queries' and keys' in our channel order (``back``: theirs)."""
    order = pair_order(len(qkv) // 3 // num_heads)
    if back:
        order = order.argsort()
    query, key, value = qkv.chunk(3)
    turned = [part.unflatten(0, (num_heads, -1))[:, order].flatten(0, 1) for part in (query, key)]
    return torch.cat([*turned, value])


def _our_layout(name: str, found: list[Tensor], num_heads: int, where: str) -> Tensor:
    tensor = torch.cat(found) if len(found) > 1 else found[0]
    if ".attn.qkv." in name:
        if len(tensor) % (6 * num_heads):
            raise ForeignError(
                f"{where}{name}: {len(tensor) // 3} rows a projection do not make {num_heads} heads of even "
                "width; set num_heads= (or predictor_heads=)"
            )
        return reordered(tensor, num_heads)
    if name in ("embed.proj.weight", "mask_tokens"):
        return tensor.flatten(1)
    return tensor


def _parsed(name: str) -> tuple[str, str, str]:
    """Return a name's pattern without its ending, the number of its block, and the ending."""
    ending = next((end for end in (".weight", ".bias") if name.endswith(end)), "")
    stem = name.removesuffix(ending)
    match = re.search(r"\.(\d+)\.", stem)
    number = match[1] if match else ""
    return re.sub(r"\.\d+\.", ".{}.", stem, count=1), number, ending


def _each(names: str | tuple[str, ...]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else names


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape))
