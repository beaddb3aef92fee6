"""The loader: one order for any number of workers and ranks, bad files replaced."""

import os

import numpy as np
import pytest
import torch
from PIL import Image

from tests.data.clips.loading import load, write_corpus
from tests.data.made_clips import make_video
from worldjepa.data.clips.badfiles import NoGoodFileError
from worldjepa.data.clips.listing import FileList, list_files
from worldjepa.data.clips.loader import Source, default_num_workers, evaluation_loader
from worldjepa.data.clips.sampling import ClipSampling
from worldjepa.data.video.reader import read_clip
from worldjepa.types import Batch


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> FileList:
    return list_files(write_corpus(tmp_path_factory.mktemp("corpus")))


def tensors(batch: Batch) -> tuple[torch.Tensor, ...]:
    assert batch.second is not None and batch.labels is not None
    return batch.frames, batch.second, batch.labels


def all_labels(batches: list[Batch]) -> torch.Tensor:
    return torch.cat([batch.labels for batch in batches if batch.labels is not None])


def test_the_same_samples_for_any_number_of_workers_and_ranks(files):
    reference = list(load(files, views=2))
    assert len(reference) == 6
    for workers in (1, 4):
        with load(files, views=2, num_workers=workers) as batches:
            for one, other in zip(reference, batches, strict=True):
                assert all(torch.equal(a, b) for a, b in zip(tensors(one), tensors(other), strict=True))
                assert (one.paths, one.bad) == (other.paths, other.bad)
    for ranks in (2, 4):
        parts = [list(load(files, views=2, rank=r, world_size=ranks)) for r in range(ranks)]
        for step, one in enumerate(reference):
            shares = zip(*(tensors(part[step]) for part in parts), strict=True)
            for whole, share in zip(tensors(one), shares, strict=True):
                assert torch.equal(whole, torch.cat(share))
            assert one.paths == sum((part[step].paths for part in parts), ())
            assert one.bad == sum((part[step].bad for part in parts), ())


def test_a_run_continued_sees_what_it_would_have_seen(files):
    whole = list(load(files))
    for one, other in zip(whole[4:], load(files, first_step=4), strict=True):
        assert torch.equal(one.frames, other.frames) and one.paths == other.paths
    assert not torch.equal(whole[0].frames, next(load(files, seed=8)).frames)


def test_bad_files_are_replaced_and_reported(files):
    batches = list(load(files, last_step=18))  # 72 samples: eight passes over nine files
    bad = {os.path.basename(file.path): file.reason for batch in batches for file in batch.bad}
    assert set(bad) == {"empty.mp4", "page.mp4", "cut.mp4"}
    assert bad["empty.mp4"] == "is empty (0 bytes)"
    paths = [path for batch in batches for path in batch.paths]
    assert len(paths) == 72 and {os.path.basename(path) for path in paths} == {"0.mp4", "1.mp4", "2.mp4"}
    for path in set(paths):  # each of the six in its own eight passes, and for others
        assert paths.count(path) >= 8
    kinds = [os.path.basename(os.path.dirname(path)) for path in paths]
    labels = all_labels(batches).tolist()
    assert [files.classes[label] for label in labels] == kinds


def test_a_single_good_file_is_found_among_many_bad(files, tmp_path):
    good = make_video(tmp_path / "good.mp4", count=5)
    paths = [str(tmp_path / f"missing{i}.mp4") for i in range(60)]
    lonely = FileList((*paths, str(good)), (-1,) * 61, (), str(tmp_path))
    assert next(load(lonely)).paths == (str(good),) * 4
    none = FileList(tuple(paths), (-1,) * 60, (), str(tmp_path))
    for workers in (0, 1):
        with pytest.raises(NoGoodFileError, match="all 60 files tried are bad; for example"):
            next(load(none, num_workers=workers))


def test_clips_have_the_right_frames(tmp_path):
    """Without crop and flip the frames' own numbers can be read: evenly spaced, one cut for both views."""
    paths = [str(make_video(tmp_path / f"{i}.mp4", count=24)) for i in range(2)]
    files = FileList(tuple(paths), (0, 1), ("a", "b"), str(tmp_path))
    batches = evaluation_loader(files, sampling=ClipSampling(4, frame_skip=5), size=42, batch_size=2)
    batch = next(batches)
    assert batch.frames.shape == (2, 4, 3, 42, 42) and batch.paths == files.paths
    # The cut spans 16 frames: it starts at 0 .. 8, the centre is 4. Decoded as they are (48 rows), the frames
    # keep columns 43 .. 84 of 128, in which cells 3 and 4 (bits 4 and 3) stand at 5 .. 20 and 21 .. 36.
    cells = batch.frames[0].float().mean(dim=1)[:, 4:10]
    bits = [[int(cells[f, :, x].mean() > 125) for x in (11, 28)] for f in range(4)]
    assert bits == [[number >> 4 & 1, number >> 3 & 1] for number in (4, 9, 14, 19)]


def test_epochs_cut_and_crop_anew(files):
    one = FileList(files.paths[:1], files.labels[:1], files.classes, files.root)
    batches = list(load(one, batch_size=1))
    assert all(not torch.equal(batches[0].frames, other.frames) for other in batches[1:])


def test_mixtures_draw_by_weight(files):
    run = files.take(i for i, label in enumerate(files.labels) if label == 0)
    sit = files.take(i for i, label in enumerate(files.labels) if label == 1)
    batches = list(load([Source(run, 3.0), Source(sit, 1.0)], batch_size=64, last_step=4))
    labels = all_labels(batches)
    assert 0.15 < labels.float().mean() < 0.35


def test_images_are_clips_of_one_frame(tmp_path):
    for i in range(5):
        Image.fromarray(np.full((20, 30, 3), 40 * i, np.uint8)).save(tmp_path / f"{i}.png")
    batch = next(load(list_files(tmp_path), sampling=ClipSampling(1), batch_size=5, last_step=1))
    assert batch.frames.shape == (5, 1, 3, 16, 16)
    assert sorted(batch.frames.flatten(1).float().mean(dim=1).tolist()) == [0, 40, 80, 120, 160]


@pytest.mark.parametrize("workers", [0, 2])
def test_evaluation_goes_through_the_list_in_order(files, workers):
    with evaluation_loader(
        files, sampling=ClipSampling(2, fps=5.0), size=16, batch_size=4, num_workers=workers
    ) as loader:
        batches = list(loader)
    good = [path for path in files.paths if os.path.basename(path)[0].isdigit()]
    assert [path for batch in batches for path in batch.paths] == good
    assert all_labels(batches).tolist() == [0, 0, 0, 1, 1, 1]
    assert len([file for batch in batches for file in batch.bad]) == 3


def test_settings_that_make_no_sense(files):
    with pytest.raises(ValueError, match=r"batch_size=4 .* multiple of 3"):
        load(files, world_size=3)
    with pytest.raises(ValueError, match="num_workers=-1"):
        load(files, num_workers=-1)
    with pytest.raises(ValueError, match=r"data.reader='pyva' is unknown; did you mean 'pyav'"):
        load(files, reader="pyva")
    assert 0 <= default_num_workers() <= 8


def test_views_of_a_file_are_rows_side_by_side(tmp_path):
    for name in ("one", "two"):
        make_video(tmp_path / f"{name}.mp4", count=16, gop=4)
    files, sampling = list_files(tmp_path), ClipSampling(4, frame_skip=2)
    settings = {"sampling": sampling, "size": 24, "batch_size": 2}
    with evaluation_loader(files, segments=2, crops=3, **settings) as clips:
        batch = next(clips)
    assert batch.frames.shape == (12, 4, 3, 24, 24)
    assert batch.paths == (files.paths[0],) * 6 + (files.paths[1],) * 6
    frames = sampling.indices(np.arange(16) / 12.5, 0.25)
    whole = read_clip(files.paths[0], indices=frames, size=27)
    width, top = whole.shape[-1], round((whole.shape[-2] - 24) / 2)
    for crop, place in enumerate((0, 0.5, 1)):
        left = round(place * (width - 24))
        torch.testing.assert_close(batch.frames[crop], whole[..., top : top + 24, left : left + 24])
    assert not torch.equal(batch.frames[:3], batch.frames[3:6])  # another segment
