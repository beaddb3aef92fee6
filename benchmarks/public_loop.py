"""The public V-JEPA 2 training step, driven over transformers.VJEPA2Model as the public loop drives its own.

One target pass over the whole clip, then one context pass and one predictor pass a mask setting, L1 on
LayerNorm targets, foreach AdamW, EMA in a Python loop over parameters (V-JEPA 2, arXiv:2506.09985). The
context encoder embeds the whole clip, keeps the visible tokens and runs its layers over these.
"""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from transformers import VJEPA2Config, VJEPA2Model
from transformers.models.vjepa2.modeling_vjepa2 import VJEPA2Encoder, VJEPA2Predictor, apply_masks

from benchmarks.stopwatch import Stopwatch
from worldjepa.config import TrainConfig
from worldjepa.types import Masks


def public_model(config: TrainConfig) -> VJEPA2Model:
    """Build a VJEPA2Model of the sizes in ``config``, in float32 with SDPA."""
    encoder, predictor = config.model.encoder, config.model.masked_predictor
    settings = VJEPA2Config(
        patch_size=encoder.patch_size,
        crop_size=config.data.size or 0,
        frames_per_clip=config.data.num_frames or 0,
        tubelet_size=encoder.tubelet_size,
        hidden_size=encoder.dim,
        num_attention_heads=encoder.num_heads,
        num_hidden_layers=encoder.depth,
        mlp_ratio=encoder.mlp_ratio,
        pred_hidden_size=predictor.dim,
        pred_num_attention_heads=predictor.num_heads,
        pred_num_hidden_layers=predictor.depth,
        pred_mlp_ratio=predictor.mlp_ratio,
        pred_num_mask_tokens=max(1, len(config.masking)),
        pred_zero_init_mask_tokens=False,
    )
    model = VJEPA2Model(settings)
    model.set_attn_implementation("sdpa")
    return model


class PublicStep:
    """One training step of the public loop over ``model``, which it trains."""

    def __init__(self, model: VJEPA2Model, *, lr: float, weight_decay: float, momentum: float):
        self.encoder, self.predictor = model.encoder.train(), model.predictor.train()
        self.target = copy.deepcopy(self.encoder).requires_grad_(False)
        self.momentum = momentum
        matrices, others = [], []
        for parameter in (*self.encoder.parameters(), *self.predictor.parameters()):
            (others if parameter.ndim == 1 else matrices).append(parameter)
        groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=lr, foreach=True)

    def __call__(
        self, frames: Float[Tensor, "b f c y x"], masks: tuple[Masks, ...], watch: Stopwatch
    ) -> float:
        """Make one update; return the loss."""
        with watch.part("target"), torch.no_grad():
            latents = self.target(frames).last_hidden_state
            targets = F.layer_norm(latents, latents.shape[-1:])
        with watch.part("context"):
            contexts = [self._visible(frames, mask.context) for mask in masks]
        with watch.part("predictor"):
            pairs = zip(contexts, masks, strict=True)
            predictions = [self._predict(context, mask, i) for i, (context, mask) in enumerate(pairs)]
        with watch.part("loss"):
            pairs = zip(predictions, masks, strict=True)
            losses = [(p - apply_masks(targets, [mask.target])).abs().mean() for p, mask in pairs]
            loss = torch.stack(losses).mean()
        with watch.part("backward"):
            loss.backward()
        with watch.part("optimizer"):
            self.optimizer.step()
            self.optimizer.zero_grad()
        with watch.part("ema"), torch.no_grad():
            for mine, source in zip(self.target.parameters(), self.encoder.parameters(), strict=True):
                mine.mul_(self.momentum).add_((1.0 - self.momentum) * source)
        return loss.item()

    def _visible(self, frames: Tensor, ids: Tensor) -> Tensor:
        return _layers(self.encoder, apply_masks(self.encoder.embeddings(frames), [ids]), ids)

    def _predict(self, context: Tensor, mask: Masks, setting: int) -> Tensor:
        predictor, kept = self.predictor, mask.context.shape[1]
        x, ids = predictor.embeddings(context, [mask.context], [mask.target], mask_index=setting)
        order = torch.argsort(ids, dim=1)
        x, ids = predictor.sort_tokens(x, ids, order)
        x = predictor.unsort_tokens(_layers(predictor, x, ids), order)
        return predictor.proj(x[:, kept:])


def _layers(part: VJEPA2Encoder | VJEPA2Predictor, x: Tensor, ids: Tensor) -> Tensor:
    for layer in part.layer:
        x = layer(x, position_mask=ids)[0]
    return part.layernorm(x)
