"""The training loop: batch -> masks -> train step -> EMA -> log -> save.

Everything random is a function of (seed, step), so a run that was killed and goes on from its last checkpoint
ends with the same weights, bit for bit, as one that never stopped.
"""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import nn

from worldjepa.artifact import CheckpointWriteError
from worldjepa.config import TrainConfig
from worldjepa.data.clips.badfiles import BadFileLog
from worldjepa.model.masking import MaskingStrategy, draw_masks
from worldjepa.model.world_model import WorldModel
from worldjepa.objectives.objective import Objective, Seen, regression_loss
from worldjepa.seeding import derive_seed
from worldjepa.settings.schema import to_dict
from worldjepa.training import distributed
from worldjepa.training.alarm import HealthMonitor
from worldjepa.training.checkpoint import (
    Checkpoint,
    KeyMismatchError,
    optimizer_tensors,
    restore_module,
    restore_optimizer,
    save_checkpoint,
)
from worldjepa.training.ema import update_target
from worldjepa.training.health import measure
from worldjepa.training.logbook import Logbook
from worldjepa.training.optim import ema_momentum, make_optimizer, set_rates
from worldjepa.training.pace import Pace
from worldjepa.training.signals import StopRequest
from worldjepa.types import Batch, Batches, Masks

logger = logging.getLogger(__name__)
_AUXILIARY = "auxiliary."  # names, beside the optimiser's, of weights that are no part of the model

# draws pictures of the model, given the masks of a step and its number
Draw = Callable[[WorldModel, tuple[Masks, ...], int, Logbook], None]


class NonFiniteError(ValueError):
    """Loss or gradients were not finite in more steps than ``train.max_skipped`` allows."""


@dataclass
class StepResult:
    """What one step gave: floats for the log, and what the gauges need."""

    metrics: dict[str, float]
    seen: Seen
    finite: bool


@dataclass
class Trainer:
    """One run's state and its loop. ``batches(step)`` yields this rank's batches from ``step`` on."""

    config: TrainConfig
    run_dir: Path
    model: WorldModel
    objective: Objective
    strategies: tuple[MaskingStrategy, ...]
    batches: Callable[[int], Batches]
    device: torch.device
    bad_files: BadFileLog
    draw_pictures: Draw | None = None
    step: int = 0
    skipped: int = 0

    def __post_init__(self) -> None:
        self.optimizer = make_optimizer(self.objective, self.config.optim)
        self.total = self.config.train.steps or 0
        frozen = not any(p.requires_grad for p in self.model.encoder.parameters())
        self.monitor = HealthMonitor(self.total, frozen=frozen, world=self.model.predictor is not None)
        self.wrapped = self._wrap()

    def _wrap(self) -> nn.Module:
        module: nn.Module = self.objective
        if distributed.world_size() > 1:
            ids = [self.device.index] if self.device.type == "cuda" else None
            module = nn.parallel.DistributedDataParallel(module, device_ids=ids)
        return torch.compile(module) if self.config.train.compile else module  # type: ignore[return-value]

    # --- the loop --------------------------------------------------------------------------------

    def run(self) -> bool:
        """Train to the last step; return True, or False if a signal asked to stop on the way.

        Raises:
            NonFiniteError: more than ``train.max_skipped`` steps had a loss or gradient that is not finite.
        """
        book = Logbook(self.run_dir, total_steps=self.total, resumed=self.step, main=distributed.is_main())
        with StopRequest() as stop, book, self.batches(self.step) as batches:
            pace = Pace(self.config.train.batch_size or 0)
            while self.step < self.total:
                with pace.waiting():
                    batch = next(batches)
                self.bad_files.record(batch)
                masks = self._masks(batch)
                result = self.train_step(batch, masks)
                self.step += 1
                pace.steps += 1
                self._report(batch, masks, result, pace, book)
                leaving = not distributed.all_true(not stop)
                if leaving or self._due(self.config.train.checkpoint_every):
                    self.save(book)
                if leaving:
                    book.note(
                        f"stopped at step {self.step} of {self.total}; the same command continues from here"
                    )
                    return False
        return True

    def train_step(self, batch: Batch, masks: tuple[Masks, ...]) -> StepResult:
        """Make one update from this rank's rows of the batch; none if anything is not finite on any rank."""
        config, step = self.config, self.step
        rate = set_rates(self.optimizer, step, self.total, config.optim)
        metrics, seen = self._accumulate(batch, masks)
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        total_norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        if config.optim.grad_clip is not None:
            nn.utils.clip_grads_with_norm_(parameters, config.optim.grad_clip, total_norm)
        norm = float(total_norm)
        finite = distributed.all_true(math.isfinite(norm) and math.isfinite(metrics["loss"]))
        if finite:
            self.optimizer.step()
        metrics |= {"grad_norm": norm, "learning_rate": rate}
        if self.model.target_encoder is not None:
            metrics["ema_momentum"] = momentum = ema_momentum(step, self.total, config.optim)
            if finite:
                update_target(self.model.target_encoder, self.model.encoder, momentum)
                for copy, source in self.objective.copies:
                    update_target(copy, source, momentum)
        self.optimizer.zero_grad(set_to_none=True)
        return StepResult(metrics, seen, finite)

    def _accumulate(self, batch: Batch, masks: tuple[Masks, ...]) -> tuple[dict[str, float], Seen]:
        """Add up the gradients of the micro-batches; return the mean terms and what the first one saw."""
        loop = self.config.train
        rows = len(batch.frames) // loop.accumulate
        before = distributed.rank() * len(batch.frames)  # rows of other ranks
        sums: dict[str, float] = {}
        seen = None
        for micro in range(loop.accumulate):
            cut = slice(micro * rows, (micro + 1) * rows)
            last = micro == loop.accumulate - 1
            quiet = getattr(self.wrapped, "no_sync", contextlib.nullcontext)
            with contextlib.nullcontext() if last else quiet():
                here = tuple(mask.rows(cut.start, cut.stop) for mask in masks)
                terms, now = self._forward(batch.rows(cut.start, cut.stop), here, before + cut.start)
                total = self.objective.total(terms)
                (total / loop.accumulate).backward()
            seen = seen or now
            for name, value in {"loss": total, **terms}.items():
                sums[name] = sums.get(name, 0.0) + float(value.detach().mean()) / loop.accumulate
        assert seen is not None
        return sums, seen

    def _forward(
        self, batch: Batch, masks: tuple[Masks, ...], first_row: int
    ) -> tuple[dict[str, torch.Tensor], Seen]:
        """Return the terms of some rows, the first being number ``first_row`` of the global batch."""
        precise = self.config.train.precision != "bf16"
        seed = derive_seed(self.config.seed, self.step, 1)
        masks = tuple(mask.to(self.device) for mask in masks)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=not precise):
            return self.wrapped(batch.to(self.device), masks, seed=seed, first_row=first_row)

    def _masks(self, batch: Batch) -> tuple[Masks, ...]:
        """Draw the masks of the whole global batch and take this rank's rows."""
        if not self.strategies:
            return ()
        rows = len(batch.frames)
        grid = self.model.encoder.grid(batch.frames)
        total = rows * distributed.world_size()
        every = draw_masks(self.strategies, grid, total, seed=self.config.seed, step=self.step)
        start = rows * distributed.rank()
        return tuple(mask.rows(start, start + rows) for mask in every)

    def _due(self, every: int | None) -> bool:
        return bool(every) and (self.step % every == 0 or self.step == self.total)

    def _report(
        self, batch: Batch, masks: tuple[Masks, ...], result: StepResult, pace: Pace, book: Logbook
    ) -> None:
        """Log, take the gauges and draw, each on its own schedule."""
        loop = self.config.train
        if not result.finite:
            self._skip(batch, result, book)
        elif self._due(loop.log_every) or self._due(loop.health_every):
            ranks = distributed.gather_objects(result.metrics)
            mean = {name: sum(r[name] for r in ranks) / len(ranks) for name in result.metrics}
            book.log(self.step, mean | pace.lap() | self._health(result.seen, book))
        book.tick(self.step)
        if self.draw_pictures and distributed.is_main() and self._due(loop.picture_every):
            self.draw_pictures(self.model, masks, self.step, book)

    def _skip(self, batch: Batch, result: StepResult, book: Logbook) -> None:
        """Count a step without an update and say which files it had; too many end the run."""
        self.skipped += 1
        files = [path for paths in distributed.gather_objects(list(batch.paths)) for path in paths]
        loss, norm = result.metrics["loss"], result.metrics["grad_norm"]
        what = f"step {self.step}: loss {loss:.4g}, gradient norm {norm:.4g} are not finite on some rank"
        book.note(f"{what}; no update was made. Files of the batch: {', '.join(files)}")
        if self.skipped > self.config.train.max_skipped:
            raise NonFiniteError(
                f"{what}, in {self.skipped} steps so far "
                f"(train.max_skipped={self.config.train.max_skipped}). Lower optim.lr or optim.grad_clip, or "
                "set train.precision=fp32; the last checkpoint stands"
            )

    def _health(self, seen: Seen, book: Logbook) -> dict[str, float]:
        """Take the gauges when they are due; say so when they mean collapse."""
        enough = distributed.is_main() and len(seen.raw) >= 2
        if not enough or not self._due(self.config.train.health_every):
            return {}
        kind = self.config.objective.loss
        assert kind is not None
        gauges = measure(
            seen.raw,
            seen.targets,
            seen.predictions,
            seen.masks,
            seen.grid,
            lambda predicted, target: regression_loss(predicted, target, kind),
        )
        alarm = self.monitor.look(self.step, gauges)
        if alarm is not None:
            book.note(f"ALARM: {alarm.seen}\n  what to try: {alarm.advice}")
        if self.monitor.hint is not None:
            book.note(f"note: {self.monitor.hint.seen} {self.monitor.hint.advice}")
        return {name: value for name, value in asdict(gauges).items() if not math.isnan(value)}

    # --- checkpoints -----------------------------------------------------------------------------

    def save(self, book: Logbook) -> None:
        """Save the run as it stands after ``step`` updates; a failure to write keeps the previous one."""
        if not distributed.is_main():
            return
        loop, auxiliary = self.config.train, self.objective.auxiliary.state_dict()
        try:
            save_checkpoint(
                self.run_dir,
                self.step,
                config=to_dict(self.config),
                model=self.model.state_dict(),
                optimizer=optimizer_tensors(self.optimizer, self.objective.named_parameters())
                | {f"{_AUXILIARY}{name}": tensor for name, tensor in auxiliary.items()},
                record={"skipped": self.skipped, "health": self.monitor.state()},
                keep_last=loop.keep_last,
                keep_every=loop.keep_every,
            )
        except CheckpointWriteError as error:
            if self.step == self.total:
                raise
            book.note(f"WARNING: {error}")

    def restore(self, checkpoint: Checkpoint) -> None:
        """Take over everything that a checkpoint holds.

        Raises:
            KeyMismatchError: it does not fit this model; the run must not go on.
        """
        source = str(checkpoint.path)
        auxiliary = {k: v for k, v in checkpoint.optimizer.items() if k.startswith(_AUXILIARY)}
        moments = {k: v for k, v in checkpoint.optimizer.items() if k not in auxiliary}
        restore_module(self.model, checkpoint.model, source=source)
        theirs = {name.removeprefix(_AUXILIARY): tensor for name, tensor in auxiliary.items()}
        restore_module(self.objective.auxiliary, theirs, source=source)
        restore_optimizer(self.optimizer, self.objective.named_parameters(), moments, source=source)
        try:
            self.monitor.restore(checkpoint.record["health"])
            self.step, self.skipped = checkpoint.step, int(checkpoint.record["skipped"])
        except (KeyError, TypeError) as error:
            raise KeyMismatchError(f"{source}: its record is not a training run's ({error!r})") from error
