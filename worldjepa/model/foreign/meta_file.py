"""V-JEPA, V-JEPA 2 and V-JEPA 2-AC as their authors publish them: one ``.pt`` of named state dicts.

``encoder``, ``target_encoder`` and ``predictor`` hold tensors under ``module.backbone.``; the rest is the
state of training. Sizes are read off the tensors, heads by the published widths. Facts from
facebookresearch/jepa and facebookresearch/vjepa2 (``src/hub/backbones.py``, ``src/models``).

V-JEPA adds position tables to its tokens. Files of V-JEPA 2 may hold such tables too, unused: it rotates.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from worldjepa.model.foreign.action_model import join_action_model
from worldjepa.model.foreign.contents import Foreign, ForeignError, Report
from worldjepa.model.foreign.files import read_torch_file
from worldjepa.model.foreign.joining import Part, join_video_model
from worldjepa.model.foreign.names import META_ACTION_PREDICTOR, META_ENCODER, META_MASKED_PREDICTOR, Table
from worldjepa.model.foreign.sizes import ENCODER_HEADS, PREDICTOR_HEADS, heads_of, length_of, tensor_of
from worldjepa.model.foreign.tables import check_table, choose_positions, table_side
from worldjepa.settings.convert import ConvertConfig

PARTS = ("encoder", "target_encoder", "predictor")
TABLES = ("pos_embed", "predictor_pos_embed")
VJEPA_FRAMES = 16  # of its clips; their size follows from its tables
VJEPA2_FRAMES, VJEPA2_SIZE = 64, 256  # of most releases: weights alone do not say


def read_meta_file(path: Path, asked: ConvertConfig) -> Foreign:
    """Read such a file.

    Raises:
        ForeignError: it is none, or of an architecture that cannot be built here.
    """
    content = read_torch_file(path)
    parts = {name: _tensors(content[name], f"{path}: {name}") for name in PARTS if name in content}
    if "encoder" not in parts and "target_encoder" in parts:
        parts["encoder"] = parts.pop("target_encoder")
    if "encoder" not in parts:
        raise ForeignError(
            f"{path} holds {', '.join(map(str, list(content)[:8])) or 'nothing'}; expected a file of V-JEPA "
            "with an encoder (encoder, target_encoder, predictor), or for a timm model timm=NAME"
        )
    left_over = {str(name): "of the training, not of the model" for name in content if name not in PARTS}
    tables = {
        f"{part}.{name}": parts[part].pop(name) for part in parts for name in TABLES if name in parts[part]
    }
    encoder = _encoder(parts["encoder"], asked)
    if any(name.startswith("action_encoder.") for name in parts.get("predictor", ())):
        left_over |= dict.fromkeys(tables, "rotary positions are used")
        if "target_encoder" in parts:
            left_over["target_encoder"] = "the encoder was frozen, and the releases load the other one"
        predictor = _predictor(parts["predictor"], META_ACTION_PREDICTOR, asked)
        report = Report("V-JEPA 2-AC (.pt)", left_over=left_over)
        return join_action_model(report, encoder, predictor, image_size=asked.image_size or VJEPA2_SIZE)
    return _video_model(parts, encoder, tables, left_over, asked)


def _video_model(
    parts: Mapping[str, dict[str, Tensor]],
    encoder: Part,
    tables: Mapping[str, Tensor],
    left_over: Mapping[str, str],
    asked: ConvertConfig,
) -> Foreign:
    mask_tokens = len(parts.get("predictor", {}).get("mask_tokens", ()))
    positions, why = choose_positions(bool(tables), mask_tokens, asked.positions)
    rotary = positions == "rope"
    frames = asked.num_frames or (VJEPA2_FRAMES if rotary else VJEPA_FRAMES)
    size = asked.image_size or VJEPA2_SIZE
    if not rotary and asked.image_size is None:
        kernel = tensor_of(encoder.tensors, "patch_embed.proj.weight", "encoder")
        size = kernel.shape[-1] * table_side(
            tensor_of(tables, "encoder.pos_embed", "the file"), kernel, frames
        )
    fate = "rotary positions are used" if rotary else "computed anew, for clips of any size"
    report = Report(
        "V-JEPA 2 (.pt)" if rotary else "V-JEPA (.pt)",
        left_over={**left_over, **dict.fromkeys(tables, fate)},
        notes=(why, f"trained on clips of {frames} frames of {size} px (image_size=, num_frames=)"),
    )
    target, predictor = parts.get("target_encoder"), parts.get("predictor")
    found = join_video_model(
        report,
        encoder=encoder,
        target=_encoder(target, asked) if target else None,
        predictor=_predictor(predictor, META_MASKED_PREDICTOR, asked) if predictor else None,
        positions=positions,
        image_size=size,
        num_frames=frames,
    )
    for name, table in tables.items() if not rotary else ():
        check_table(table, found.settings, name)
    return found


# --- what is in a file -----------------------------------------------------------------------------


def _tensors(state: Any, where: str) -> dict[str, Tensor]:
    """Return a state dict's tensors by their bare names, mask tokens as one."""
    if not isinstance(state, Mapping) or not all(isinstance(x, Tensor) for x in state.values()):
        raise ForeignError(f"{where} is not a mapping of names to tensors")
    found: dict[str, Tensor] = {}
    for name, tensor in state.items():
        bare = re.sub(r"^(module\.|backbone\.|_orig_mod\.)*", "", str(name))
        if bare in found:
            raise ForeignError(f"{where}: {bare} comes twice")
        found[bare] = tensor
    tokens = {name: x for name, x in found.items() if re.fullmatch(r"mask_tokens\.\d+", name)}
    if tokens:
        ordered = [found.pop(f"mask_tokens.{index}", None) for index in range(len(tokens))]
        if any(token is None or token.shape != tokens["mask_tokens.0"].shape for token in ordered):
            raise ForeignError(f"{where}: the mask tokens {', '.join(tokens)} are not one set")
        found["mask_tokens"] = torch.stack([x.flatten() for x in ordered if x is not None])[:, None, None]
    return found


def _encoder(tensors: Mapping[str, Tensor], asked: ConvertConfig) -> Part:
    dim = length_of(tensors, "norm.weight", "encoder")
    return Part(tensors, META_ENCODER, heads_of(dim, asked.num_heads, ENCODER_HEADS, "num_heads"))


def _predictor(tensors: Mapping[str, Tensor], table: Table, asked: ConvertConfig) -> Part:
    dim = length_of(tensors, "predictor_norm.weight", "predictor")
    heads = heads_of(dim, asked.predictor_heads, PREDICTOR_HEADS, "predictor_heads")
    return Part(tensors, table, heads)
