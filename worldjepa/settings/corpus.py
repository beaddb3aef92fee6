"""What is done once to a corpus of videos: an index of it, a copy of it prepared for training."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Optional  # OmegaConf reads these at run time


@dataclass
class CorpusConfig:
    """Which videos. ``root`` None: the built-in corpus. ``layout`` and ``index``: as in training.

    ``num_workers``: processes (None: one a core). ``timeout_s``: a file that takes longer is bad.
    """

    root: Optional[str] = None
    layout: str = "auto"
    index: Optional[str] = None
    num_workers: Optional[int] = None
    timeout_s: float = 60.0


@dataclass
class IndexConfig:
    """Everything that ``python -m worldjepa.index`` understands. ``report``: a JSON file for the figures."""

    report: Optional[str] = None
    data: CorpusConfig = field(default_factory=CorpusConfig)


@dataclass
class SourceVideosConfig:
    """Which videos, and the short side in pixels to store them at (never more than they have)."""

    root: Optional[str] = None
    layout: str = "auto"
    size: int = 256
    num_workers: Optional[int] = None


@dataclass
class StoreConfig:
    """How a prepared store is written.

    ``raw``: frames as they are, for small corpora; what follows is then of no use. ``gop``: frames from one
    keyframe to the next. ``crf``: quality of the encoder (x264's constant rate factor, lower is better), as
    far as a video stays within ``max_share`` of its source's bytes (null: no limit); beyond that it is
    lowered for that video. ``preset``: x264's; a slower one makes smaller files. ``shard_mb``: size of a
    shard. ``timeout_s``: a video that takes longer is bad. ``verify``: check a finished store, no more.
    """

    raw: bool = False
    gop: int = 4
    crf: int = 26
    preset: str = "slow"
    max_share: Optional[float] = 1.0
    shard_mb: int = 256
    timeout_s: float = 3600.0
    verify: bool = False


@dataclass
class PrepareConfig:
    """Everything that ``python -m worldjepa.prepare`` understands. ``out``: the folder of the store."""

    out: Optional[str] = None
    data: SourceVideosConfig = field(default_factory=SourceVideosConfig)
    prepare: StoreConfig = field(default_factory=StoreConfig)
