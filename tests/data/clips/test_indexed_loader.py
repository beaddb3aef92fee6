"""Loaders use the index and extend it; what is drawn does not depend on it."""

import torch

from worldjepa.data.clips.listing import training_and_held_out
from worldjepa.data.clips.loader import Source, clip_loader
from worldjepa.data.clips.sampling import ClipSampling
from worldjepa.data.clips.transforms import TrainTransform
from worldjepa.data.video import reader_pyav
from worldjepa.data.video.index import VideoIndex, index_path
from worldjepa.data.video.index_memory import index_memory


def batches(root, index, workers=0):
    source = Source(training_and_held_out(root)[0])
    settings = {"sampling": ClipSampling(4, fps=6), "transform": TrainTransform(24), "num_workers": workers}
    with clip_loader([source], batch_size=8, seed=3, last_step=8, index=index, **settings) as loader:
        return list(loader)


def test_what_is_learnt_is_kept_and_changes_no_sample(corpus, tmp_path, monkeypatch):
    index = str(tmp_path / "index.sqlite")
    without, learning = batches(corpus, "off"), batches(corpus, index)
    index_memory(index_path(corpus, index), str(corpus)).flush()
    with VideoIndex(tmp_path / "index.sqlite", corpus, writable=False) as opened:
        rows = [row for _, row in opened.rows()]
    assert len(rows) == 24 and {row.frames for row in rows} == {18}
    with monkeypatch.context() as patch:
        patch.setattr(reader_pyav, "read_timeline", lambda *_: 1 / 0)  # nothing is looked at any more
        knowing = batches(corpus, index)
    for one, *others in zip(without, learning, knowing, batches(corpus, index, workers=1), strict=True):
        for other in others:
            assert one.paths == other.paths and torch.equal(one.frames, other.frames)
