"""Data in: videos, corpora of them, episodes of environments. Importing this loads no torch."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from worldjepa.data.collection.collect import collect_episodes
    from worldjepa.data.episodes.store import EpisodeStore, open_episodes
    from worldjepa.data.episodes.windows import WindowSampling, window_loader
    from worldjepa.data.video.reader import (
        BadVideoError,
        UnsupportedVideoError,
        VideoInfo,
        open_reader,
        read_clip,
    )

__all__ = [
    "BadVideoError",
    "EpisodeStore",
    "UnsupportedVideoError",
    "VideoInfo",
    "WindowSampling",
    "collect_episodes",
    "open_episodes",
    "open_reader",
    "read_clip",
    "window_loader",
]

_HOMES = {
    "BadVideoError": "worldjepa.data.video.reader",
    "EpisodeStore": "worldjepa.data.episodes.store",
    "UnsupportedVideoError": "worldjepa.data.video.reader",
    "VideoInfo": "worldjepa.data.video.reader",
    "WindowSampling": "worldjepa.data.episodes.windows",
    "collect_episodes": "worldjepa.data.collection.collect",
    "open_episodes": "worldjepa.data.episodes.store",
    "open_reader": "worldjepa.data.video.reader",
    "read_clip": "worldjepa.data.video.reader",
    "window_loader": "worldjepa.data.episodes.windows",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(_HOMES))
