"""Running statistics that fit the weights as they are now.

While the learning rate is up, BatchNorm's running mean follows weights that have moved on: where frames
differ little, the features before it are small beside its drift, and latents in eval mode come out shifted by
many times their spread. Taking the statistics again with the weights held still mends it (Wu and Johnson,
"Rethinking 'Batch' in BatchNorm", arXiv:2105.07576, section 3).
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

import torch

from worldjepa.model.projector import BatchNorm
from worldjepa.model.world_model import WorldModel
from worldjepa.training.logbook import Logbook
from worldjepa.training.loop import Trainer
from worldjepa.types import Batch

BATCHES = 16


class SettledTrainer(Trainer):
    """A trainer whose last checkpoint has running statistics of its own weights."""

    def save(self, book: Logbook) -> None:
        """Save; at the last step, after settling on batches that were trained on."""
        if self.step == self.total:
            count = min(BATCHES, self.total)
            with self.batches(self.total - count) as batches:
                settle_statistics(self.model, islice(batches, count))
        super().save(book)


@torch.no_grad()
def settle_statistics(model: WorldModel, batches: Iterable[Batch]) -> None:
    """Set the running statistics of every BatchNorm of the encoders to their mean over ``batches``."""
    encoders = [encoder for encoder in (model.encoder, model.target_encoder) if encoder is not None]
    norms = [part for encoder in encoders for part in encoder.modules() if isinstance(part, BatchNorm)]
    if not norms:
        return
    before, training = [norm.momentum for norm in norms], [encoder.training for encoder in encoders]
    for count, batch in enumerate(batches, start=1):
        frames = model.prepare(batch.frames)
        for norm in norms:
            norm.momentum = 1.0 / count  # the mean of all batches so far
        for encoder in encoders:
            encoder.train()(frames)
    for norm, momentum in zip(norms, before, strict=True):
        norm.momentum = momentum
    for encoder, mode in zip(encoders, training, strict=True):
        encoder.train(mode)
