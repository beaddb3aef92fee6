"""CIFAR-10 as torchvision keeps it on disk, as still clips. It is read where it is there, never fetched."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torchvision.datasets import CIFAR10

from worldjepa.types import Batch

FOLDER = CIFAR10.base_folder


def is_cifar(root: str | Path) -> bool:
    """Tell whether CIFAR-10 lies in the folder ``root``."""
    return (Path(root) / FOLDER).is_dir()


def cifar_clips(
    root: str | Path, *, train: bool, num_frames: int, most: int, batch_size: int = 64
) -> Iterator[Batch]:
    """Yield the first ``most`` images, each ``num_frames`` times over, with their labels.

    Raises:
        ValueError: files that are missing or not those of CIFAR-10 (their checksums tell).
    """
    try:
        images = CIFAR10(str(root), train=train, download=False)
    except RuntimeError as error:
        raise ValueError(
            f"data.root={root}: {FOLDER} in it is not whole: files are missing or not those of "
            "CIFAR-10; get it anew"
        ) from error
    pixels = torch.from_numpy(images.data[:most]).permute(0, 3, 1, 2)
    labels = torch.tensor(images.targets[:most])
    for frames, known in zip(pixels.split(batch_size), labels.split(batch_size), strict=True):
        clips = frames.unsqueeze(1).expand(-1, num_frames, -1, -1, -1)
        yield Batch(clips, labels=known, paths=("",) * len(known))
