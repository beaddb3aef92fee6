"""Video in, clips out: readers, file lists, transforms, the loader. Importing this loads no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from worldjepa.data.video import BadVideoError, UnsupportedVideoError, VideoInfo, open_reader, read_clip

__all__ = ["BadVideoError", "UnsupportedVideoError", "VideoInfo", "open_reader", "read_clip"]


def __getattr__(name: str):
    if name in __all__:
        from worldjepa.data import video

        return getattr(video, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
