"""Nine files of which three are bad, and a loader over them with small settings."""

from pathlib import Path

from tests.data.made_clips import make_video
from worldjepa.data.clips.loader import ClipLoader, Source, clip_loader
from worldjepa.data.clips.sampling import ClipSampling
from worldjepa.data.clips.transforms import TrainTransform


def write_corpus(root: Path) -> Path:
    """Write six good files in two classes and three bad ones; return ``root``."""
    for kind in ("run", "sit"):
        (root / kind).mkdir()
        for i in range(3):
            make_video(root / kind / f"{i}.mp4", count=10 + i, gop=4)
    whole = (root / "run/0.mp4").read_bytes()
    (root / "run/empty.mp4").write_bytes(b"")
    (root / "sit/page.mp4").write_bytes(b"<html></html>" * 50)
    (root / "sit/cut.mp4").write_bytes(whole[: len(whole) // 2])
    return root


def load(sources, **changed) -> ClipLoader:
    settings = {"sampling": ClipSampling(4, fps=12.5), "transform": TrainTransform(16)}
    settings |= {"batch_size": 4, "seed": 7, "last_step": 6}
    sources = sources if isinstance(sources, list) else [Source(sources)]
    return clip_loader(sources, **(settings | changed))
