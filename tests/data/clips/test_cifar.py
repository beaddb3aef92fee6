"""CIFAR-10 as torchvision keeps it: read where it is whole, refused where it is not."""

import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.datasets import CIFAR10

from worldjepa.data.clips.cifar import FOLDER, cifar_clips, is_cifar


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write files of CIFAR-10's form, 4 images each, and have torchvision expect them."""
    folder = tmp_path / FOLDER
    folder.mkdir()
    lists = {"train_list": [], "test_list": []}
    for index, (name, part) in enumerate((("data_batch_1", "train_list"), ("test_batch", "test_list"))):
        pixels = np.random.default_rng(index).integers(0, 256, (4, 3072), dtype=np.uint8)
        entry = {"data": pixels, "labels": [3, 1, 2, 0]}
        (folder / name).write_bytes(pickle.dumps(entry))
        lists[part].append([name, hashlib.md5((folder / name).read_bytes()).hexdigest()])
    meta = {"label_names": ["a", "b", "c", "d"]}
    (folder / "batches.meta").write_bytes(pickle.dumps(meta))
    digest = hashlib.md5((folder / "batches.meta").read_bytes()).hexdigest()
    monkeypatch.setattr(CIFAR10, "meta", {"filename": "batches.meta", "key": "label_names", "md5": digest})
    for name, entries in lists.items():
        monkeypatch.setattr(CIFAR10, name, entries)
    return tmp_path


def test_images_become_still_clips_with_their_labels(small: Path):
    assert is_cifar(small) and not is_cifar(small / FOLDER)
    batches = list(cifar_clips(small, train=True, num_frames=2, most=3, batch_size=2))
    assert [tuple(batch.frames.shape) for batch in batches] == [(2, 2, 3, 32, 32), (1, 2, 3, 32, 32)]
    labels = [label for batch in batches if batch.labels is not None for label in batch.labels.tolist()]
    assert labels == [3, 1, 2]
    pixels = np.random.default_rng(0).integers(0, 256, (4, 3072), dtype=np.uint8)
    assert torch.equal(batches[0].frames[1, 1], torch.from_numpy(pixels[1].reshape(3, 32, 32)))
    held_out = next(cifar_clips(small, train=False, num_frames=1, most=10))
    assert len(held_out.frames) == 4 and not torch.equal(held_out.frames[0, 0], batches[0].frames[0, 0])


def test_damaged_files_are_refused(small: Path):
    (small / FOLDER / "test_batch").write_bytes(b"torn")
    with pytest.raises(ValueError, match="is not whole"):
        next(cifar_clips(small, train=False, num_frames=1, most=4))
