"""What ``python -m worldjepa.evaluate`` measures, and on which data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import List, Optional  # OmegaConf reads these at run time

from worldjepa.settings.run import RunConfig

QUICK = ("linear", "knn", "regression", "segmentation", "gauges", "surprise")
PROBES = (*QUICK, "attentive", "detection", "anticipation")
BESIDE = ("context", "untrained", "raw")


@dataclass
class EvaluatedDataConfig:
    """Labelled clips or images to probe with (``root`` left out: the run's own); as ``data`` in training.

    A folder that holds torchvision's ``cifar-10-batches-py`` is CIFAR-10.
    """

    root: Optional[str] = None
    val_root: Optional[str] = None
    layout: str = "auto"


@dataclass
class ProbingConfig:
    """How it is measured. ``clips``: at most so many to fit to, and again to judge by.

    ``beside``: what stands beside the target encoder: context, untrained, raw. ``segments`` and ``crops``:
    views along the video and along the long side of the picture, whose answers are averaged. ``depth`` and
    ``heads`` of the attentive probe. It is trained once for each of ``lrs`` and ``weight_decays``, all at the
    same time, for ``epochs``; so are the heads of segmentation and detection, small as they are with
    ``dense_lrs`` and for ``dense_epochs``. ``twins``: pairs of each kind of clip that breaks physics.
    """

    clips: int = 2000
    beside: List[str] = field(default_factory=lambda: list(BESIDE))
    segments: int = 1
    crops: int = 1
    depth: int = 4
    heads: int = 16
    lrs: List[float] = field(default_factory=lambda: [1e-3, 3e-3])
    weight_decays: List[float] = field(default_factory=lambda: [0.01, 0.1])
    epochs: int = 6
    dense_lrs: List[float] = field(default_factory=lambda: [3e-3, 1e-2])
    dense_epochs: int = 10
    twins: int = 100


@dataclass
class EvaluateConfig:
    """Everything that ``python -m worldjepa.evaluate`` understands.

    ``probe``: one name, a list such as [linear,knn], quick or all. ``seed`` draws heads, views and twins.
    """

    probe: str = "quick"
    seed: int = 0
    device: str = "auto"
    run: RunConfig = field(default_factory=RunConfig)
    data: EvaluatedDataConfig = field(default_factory=EvaluatedDataConfig)
    eval: ProbingConfig = field(default_factory=ProbingConfig)

    @property
    def probes(self) -> tuple[str, ...]:
        """The names that ``probe`` spells."""
        sets = {"quick": QUICK, "all": PROBES}
        words = [word.strip() for word in self.probe.strip("[] ").split(",")]
        return tuple(dict.fromkeys(name for word in words if word for name in sets.get(word, (word,))))
