"""What converting published weights may be told: what the weights themselves cannot say."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import List, Optional  # OmegaConf reads these at run time


@dataclass
class ConvertConfig:
    """Everything that ``python -m worldjepa.convert`` understands beside what to read and where to write.

    Left out, each is read from the files or taken from the published sizes. ``num_heads`` and
    ``predictor_heads`` are attention heads of encoder and predictor; ``image_size`` (pixels) and
    ``num_frames`` describe the clips trained on; ``positions`` (rope or sincos_thirds) decides what a file
    with position tables was trained with; ``timm`` names the architecture and tag of a timm checkpoint file.
    ``allow_missing`` names what may be absent: tensors or whole parts (``masked_predictor``).
    """

    num_heads: Optional[int] = None
    predictor_heads: Optional[int] = None
    image_size: Optional[int] = None
    num_frames: Optional[int] = None
    positions: Optional[str] = None
    timm: Optional[str] = None
    allow_missing: List[str] = field(default_factory=list)
