"""Is my run healthy? The alarm: looks at the gauges in turn and speaks up when they stay bad."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from worldjepa.training.health import Gauges

# Runs of a nano encoder at a learning rate a little too high fell to a std of 0.08 (from 0.39) and a rank
# of 6.7 (from 41) for a third of the run and came back by themselves; collapsing ones passed 0.03 and 4 at
# once and ended at 0.005 and 1.8. A false alarm costs more trust than a late one costs time.
_PATIENCE = 3  # looks in a row
_STD_FLOOR, _STD_SHARE = 0.03, 0.1
_RANK_FLOOR, _RANK_SHARE = 5.0, 0.15
# A world of few degrees of freedom needs few directions: a sound model of a dot in two rooms ends at 4.8.
_WORLD_RANK_FLOOR = 2.0
_SCALE_SHARE = 0.01
_ADVICE = (
    "Try, one at a time: a lower optim.lr (a third) or a longer optim.warmup; with an EMA target, a higher "
    "momentum (optim.ema=[0.999,1.0]); a variance and a covariance term (objective.weights.variance, "
    ".covariance) or objective.weights.sigreg, or more of them; a larger batch. Go back to a checkpoint from "
    "before it, or start anew."
)


@dataclass(frozen=True)
class CollapseAlarm:
    """The latents have collapsed. ``kind``: point, scale or rank; the texts are for the user."""

    kind: str
    seen: str
    advice: str


@dataclass(frozen=True)
class HealthHint:
    """Worth a look, not an alarm."""

    seen: str
    advice: str


@dataclass(frozen=True)
class Watch:
    """All that ``judge`` remembers: bests, the first scale, and how many looks in a row were bad.

    Numbers only, so that ``dataclasses.asdict`` fits into a checkpoint's JSON and ``Watch(**numbers)``
    brings it back.
    """

    best_std: float = 0.0
    best_rank: float = 0.0
    first_scale: float | None = None
    point: int = 0
    scale: int = 0
    rank: int = 0
    trivial: int = 0


def judge(
    watch: Watch, gauges: Gauges, progress: float, *, frozen: bool = False, world: bool = False
) -> tuple[Watch, CollapseAlarm | HealthHint | None]:
    """Take note of one look at ``progress`` (0 to 1) of the run; return what it gives cause to say.

    A condition has to hold for three looks in a row, is reported once, and again only after it has
    passed. Floors count only for a run that has seen much better, or has got half way without.
    ``frozen`` latents cannot collapse, however alike they are; a ``world`` model's may have a low rank.
    """
    late = progress >= 0.5
    first_scale = watch.first_scale
    if first_scale is None and math.isfinite(gauges.raw_scale):
        first_scale = gauges.raw_scale
    best_std, best_rank = max(watch.best_std, gauges.std), max(watch.best_rank, gauges.effective_rank)
    point = gauges.std < _STD_FLOOR and (late or gauges.std < _STD_SHARE * best_std)
    scale = first_scale is not None and gauges.raw_scale < _SCALE_SHARE * first_scale
    # No "late" here: with few rows in a batch a low rank is all there can be.
    floor = _WORLD_RANK_FLOOR if world else _RANK_FLOOR
    rank = gauges.effective_rank < min(floor, _RANK_SHARE * best_rank)
    trivial = late and gauges.predictor >= min(gauges.copy_nearest, gauges.mean_latent)
    watch = Watch(
        best_std=best_std,
        best_rank=best_rank,
        first_scale=first_scale,
        point=watch.point + 1 if point and not frozen else 0,
        scale=watch.scale + 1 if scale and not frozen else 0,
        rank=watch.rank + 1 if rank and not frozen else 0,
        trivial=watch.trivial + 1 if trivial else 0,
    )
    return watch, _verdict(watch, gauges)


def _verdict(watch: Watch, gauges: Gauges) -> CollapseAlarm | HealthHint | None:
    """Say the gravest thing that has just lasted long enough."""
    if watch.point == _PATIENCE:
        return CollapseAlarm(
            "point",
            f"Clips have become alike: the latents' standard deviation over clips is {gauges.std:.4f} "
            f"(best so far {watch.best_std:.3f}), the mean cosine between clips {gauges.cosine:.4f}, "
            f"the effective rank {gauges.effective_rank:.1f}. A low loss means nothing now.",
            _ADVICE,
        )
    if watch.scale == _PATIENCE:
        return CollapseAlarm(
            "scale",
            f"The encoder's output has shrunk to a root mean square of {gauges.raw_scale:.2g} "
            f"({watch.first_scale:.2g} at the start); LayerNorm hides that from the loss.",
            _ADVICE,
        )
    collapsed = watch.point >= _PATIENCE or watch.scale >= _PATIENCE
    if watch.rank == _PATIENCE and not collapsed:
        return CollapseAlarm(
            "rank",
            f"The latents use few directions: their effective rank is {gauges.effective_rank:.1f} "
            f"(best so far {watch.best_rank:.1f}), their standard deviation over clips {gauges.std:.3f}.",
            _ADVICE,
        )
    if watch.trivial == _PATIENCE and not collapsed:
        return HealthHint(
            f"The predictor's loss ({gauges.predictor:.4f}) is no better than copying the nearest visible "
            f"token ({gauges.copy_nearest:.4f}) or guessing the mean latent ({gauges.mean_latent:.4f}).",
            "Train longer or lower optim.lr; early in a run this is normal. Of masks, hide more of the clip; "
            "with actions, see that they are those that led from frame to frame.",
        )
    return None


class HealthMonitor:
    """A run's ``Watch``, kept between looks, with its state for the checkpoint."""

    def __init__(self, total_steps: int, *, frozen: bool = False, world: bool = False) -> None:
        self.total_steps, self.frozen, self.world = total_steps, frozen, world
        self.hint: HealthHint | None = None
        self._watch = Watch()

    def look(self, step: int, gauges: Gauges) -> CollapseAlarm | None:
        """Judge the gauges of ``step``; ``hint`` then holds what is worth saying short of an alarm."""
        progress = step / max(1, self.total_steps)
        self._watch, said = judge(self._watch, gauges, progress, frozen=self.frozen, world=self.world)
        self.hint = said if isinstance(said, HealthHint) else None
        return said if isinstance(said, CollapseAlarm) else None

    def state(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return asdict(self._watch)

    def restore(self, state: dict[str, Any]) -> None:
        """Take up where ``state()`` was taken."""
        self._watch = Watch(**state)
