"""Data in: videos, corpora of them, episodes of environments. Importing this loads no torch."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from worldjepa.data.collection.collect import collect_episodes
    from worldjepa.data.episodes.action_spec import action_spec
    from worldjepa.data.episodes.episode import Episode, EpisodeSpec
    from worldjepa.data.episodes.lerobot_writer import write_lerobot
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
    "Episode",
    "EpisodeSpec",
    "EpisodeStore",
    "UnsupportedVideoError",
    "VideoInfo",
    "WindowSampling",
    "action_spec",
    "collect_episodes",
    "open_episodes",
    "open_reader",
    "read_clip",
    "window_loader",
    "write_lerobot",
]

_HOMES = {
    "BadVideoError": "worldjepa.data.video.reader",
    "Episode": "worldjepa.data.episodes.episode",
    "EpisodeSpec": "worldjepa.data.episodes.episode",
    "EpisodeStore": "worldjepa.data.episodes.store",
    "UnsupportedVideoError": "worldjepa.data.video.reader",
    "VideoInfo": "worldjepa.data.video.reader",
    "WindowSampling": "worldjepa.data.episodes.windows",
    "action_spec": "worldjepa.data.episodes.action_spec",
    "collect_episodes": "worldjepa.data.collection.collect",
    "open_episodes": "worldjepa.data.episodes.store",
    "open_reader": "worldjepa.data.video.reader",
    "read_clip": "worldjepa.data.video.reader",
    "window_loader": "worldjepa.data.episodes.windows",
    "write_lerobot": "worldjepa.data.episodes.lerobot_writer",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(_HOMES))
