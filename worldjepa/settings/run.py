"""Where a run is kept and how long it is; which settings may change when it is continued."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Optional  # OmegaConf reads these at run time


def runtime(default: Any) -> Any:
    """Declare a field that may change when a run is continued."""
    return field(default=default, metadata={"runtime": True})


@dataclass
class RunConfig:
    """``dir`` defaults to ``runs/<experiment>``."""

    dir: Optional[str] = runtime(None)


@dataclass
class LoopConfig:
    """Length and shape of the run. ``batch_size`` is the global batch over all ranks and micro-batches."""

    steps: Optional[int] = None
    batch_size: Optional[int] = None
    precision: Optional[str] = None
    accumulate: int = 1
    compile: bool = False
    activation_checkpointing: bool = False
    max_skipped: int = 10
    checkpoint_every: int = runtime(500)
    keep_last: int = runtime(2)
    keep_every: Optional[int] = runtime(None)
    log_every: int = runtime(20)
    health_every: int = runtime(100)
    picture_every: int = runtime(1000)
