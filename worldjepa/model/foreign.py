"""Published weights' names and layouts, translated to ours.

So far: Hugging Face's VJEPA2Model. Its query and key channels form rotary pairs with their neighbours, ours
half a head apart (``layers/rope.py``), so the rows of these projections are put in our order: products of
queries and keys, and with them every latent, stay the same.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from worldjepa.model.layers.rope import pair_order

_PARTS = {"encoder": "encoder", "predictor": "masked_predictor"}


def from_vjepa2(tensors: Mapping[str, Tensor], *, num_heads: int, predictor_heads: int) -> dict[str, Tensor]:
    """Return the tensors of a Hugging Face VJEPA2Model as ``encoder.*`` and ``masked_predictor.*`` of ours.

    Args:
        tensors: its state dict.
        num_heads: attention heads of its encoder.
        predictor_heads: attention heads of its predictor.

    Raises:
        ValueError: a tensor that such a model does not have.
    """
    heads = {"encoder": num_heads, "predictor": predictor_heads}
    ours: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        if part not in _PARTS:
            raise ValueError(f"{name} is not a tensor of a VJEPA2Model without a pooler and a head")
        prefix = _PARTS[part]
        if rest.startswith("layer."):
            _, index, inner = rest.split(".", 2)
            if inner.startswith("attention.") and inner.split(".")[1] in ("key", "value"):
                continue  # taken together with the query
            if inner.startswith("attention.query."):
                kind = inner.rsplit(".", 1)[1]
                stem = name.removesuffix(f"query.{kind}")
                parts = [tensors[f"{stem}{which}.{kind}"] for which in ("query", "key", "value")]
                ours[f"{prefix}.blocks.{index}.attn.qkv.{kind}"] = join_heads(*parts, num_heads=heads[part])
            else:
                ours[f"{prefix}.blocks.{index}.{inner.replace('attention.proj', 'attn.proj')}"] = tensor
        else:
            ours[f"{prefix}.{_outer_name(rest)}"] = _outer_tensor(rest, tensor)
    return ours


def join_heads(query: Tensor, key: Tensor, value: Tensor, *, num_heads: int) -> Tensor:
    """Stack three projections (weights ``[d in]`` or biases ``[d]``), query and key in our channel order."""
    order = pair_order(query.shape[0] // num_heads)

    def reordered(tensor: Tensor) -> Tensor:
        return tensor.unflatten(0, (num_heads, -1))[:, order].flatten(0, 1)

    return torch.cat([reordered(query), reordered(key), value])


def _outer_name(rest: str) -> str:
    for theirs, mine in (
        ("embeddings.patch_embeddings.proj.", "embed.proj."),
        ("embeddings.predictor_embeddings.", "embed."),
        ("embeddings.mask_tokens", "mask_tokens"),
        ("layernorm.", "norm."),
    ):
        if rest.startswith(theirs):
            return mine + rest.removeprefix(theirs)
    return rest


def _outer_tensor(rest: str, tensor: Tensor) -> Tensor:
    if rest == "embeddings.patch_embeddings.proj.weight":
        return tensor.flatten(1)  # a Conv3d kernel [d c t y x]
    if rest == "embeddings.mask_tokens":
        return tensor.flatten(1)  # [number 1 1 d]
    return tensor
