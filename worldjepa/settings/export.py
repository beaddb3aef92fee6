"""What exporting a model may be told."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Optional  # OmegaConf reads these at run time

from worldjepa.settings.run import RunConfig


@dataclass
class ExportConfig:
    """Everything that ``python -m worldjepa.export`` understands.

    ``run.dir`` is whatever ``worldjepa.load`` takes, ``out`` a folder that is not there yet. ``format``: onnx
    (with torch programs beside) or transformers (VJEPA2). ``num_frames``: of a clip; left out, one latent
    step. ``history``: how many earlier latent steps ``step`` keeps, where the predictor has no window.
    """

    run: RunConfig = field(default_factory=RunConfig)
    out: Optional[str] = None
    format: str = "onnx"
    num_frames: Optional[int] = None
    history: Optional[int] = None
