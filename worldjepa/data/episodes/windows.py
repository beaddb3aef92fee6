"""Windows of episodes as batches to train a world model on.

One clock: latent step ``i`` of a window that begins at environment step ``start`` is environment step
``start + i * action_block``, and ``actions[:, i]`` are the environment actions between latent steps ``i`` and
``i + 1``, one after the other. Which window is drawn is a function of (seed, sample number) alone.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch.utils.data import Dataset
from torchvision.transforms.v2 import functional as v2

from worldjepa.data.clips.loader import ClipLoader, OrderedRows, RankRows, check_share
from worldjepa.data.clips.order import SampleOrder
from worldjepa.data.episodes.episode import Episodes, Excerpt
from worldjepa.data.video.reader import target_size
from worldjepa.data.video.resize import resize_frames
from worldjepa.data.workers import StepLoader
from worldjepa.types import Batch

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class WindowSampling:
    """``num_frames`` a window, ``frames_per_step`` a latent step, ``action_block`` steps between two.

    The frames of a latent step lie ``action_block / frames_per_step`` environment steps apart, and the last
    of them is at the latent step itself.
    """

    num_frames: int
    frames_per_step: int = 1
    action_block: int = 1

    def __post_init__(self):
        for name, value in vars(self).items():
            if value < 1:
                raise ValueError(f"{name}={value}: expected 1 or more")
        if self.num_frames % self.frames_per_step:
            raise ValueError(
                f"data.num_frames={self.num_frames}: a latent step has {self.frames_per_step} frames; "
                "expected a multiple of that"
            )
        if self.action_block % self.frames_per_step:
            raise ValueError(
                f"model.action_block={self.action_block}: the {self.frames_per_step} frames of a latent step "
                "have to lie a whole number of environment steps apart; expected a multiple of "
                f"{self.frames_per_step}, or model.encoder.frames_per_step=1"
            )

    @property
    def num_steps(self) -> int:
        """Latent steps of a window."""
        return self.num_frames // self.frames_per_step

    @property
    def span(self) -> int:
        """Environment steps from the first latent step to the last."""
        return (self.num_steps - 1) * self.action_block

    def frame_ids(self, start: int) -> list[int]:
        """Return which observations a window shows; the first one stands for what lies before the reset."""
        gap = self.action_block // self.frames_per_step
        back = range((self.frames_per_step - 1) * gap, -1, -gap)
        ends = range(start, start + self.span + 1, self.action_block)
        return [max(0, end - steps) for end in ends for steps in back]


def window_loader(
    episodes: Episodes,
    ids: Sequence[int],
    *,
    sampling: WindowSampling,
    size: int,
    batch_size: int,
    seed: int,
    last_step: int,
    first_step: int = 0,
    rank: int = 0,
    world_size: int = 1,
    num_workers: int = 0,
    pin_memory: bool = False,
    camera: str | None = None,
) -> ClipLoader:
    """Return the training batches of steps ``first_step`` to ``last_step - 1`` for one rank.

    A window may begin at any environment step of the episodes ``ids`` at which it still fits; all are equally
    likely, and none comes twice in an epoch. ``batch_size`` is that of all ranks together. Frames are brought
    to ``size`` x ``size`` pixels as ``WorldModel.encode`` does it (the short side, antialiased, then the
    centre). Raises ``ValueError`` when no episode is long enough.
    """
    share = check_share(batch_size, world_size)
    starts = WindowStarts.of(episodes, ids, sampling)
    order = SampleOrder([len(starts)], [1.0], seed)
    dataset = _Windows(episodes, starts, sampling, size, camera, order)
    rows = RankRows(batch_size, rank * share, share)
    return _loader(dataset, rows, first_step, last_step, num_workers, pin_memory)


def ordered_windows(
    episodes: Episodes,
    ids: Sequence[int],
    *,
    sampling: WindowSampling,
    size: int,
    batch_size: int,
    stride: int = 1,
    num_workers: int = 0,
    pin_memory: bool = False,
    camera: str | None = None,
) -> ClipLoader:
    """Return, in order, every window of ``ids`` that begins at a multiple of ``stride``.

    The last batch may be smaller.
    """
    if batch_size < 1 or stride < 1:
        raise ValueError(f"batch_size={batch_size}, stride={stride}: expected 1 or more")
    starts = WindowStarts.of(episodes, ids, sampling, stride)
    dataset = _Windows(episodes, starts, sampling, size, camera, None)
    rows = OrderedRows(batch_size, len(starts))
    return _loader(dataset, rows, 0, -(-len(starts) // batch_size), num_workers, pin_memory)


@dataclass(frozen=True, eq=False)
class WindowStarts:
    """All the windows there are, by number: ``counts[i]`` of them in episode ``ids[i]``, ``stride`` apart."""

    ids: Int64[np.ndarray, " n"]
    ends: Int64[np.ndarray, " n"]
    stride: int

    @classmethod
    def of(
        cls, episodes: Episodes, ids: Sequence[int], sampling: WindowSampling, stride: int = 1
    ) -> WindowStarts:
        """Count the windows of the episodes ``ids``; says which are too short, ``ValueError`` if all are."""
        ids_array, lengths = np.asarray(ids, np.int64), episodes.lengths
        if len(ids_array) and not 0 <= ids_array.min() <= ids_array.max() < len(lengths):
            raise ValueError(f"{episodes.root} has episodes 0 to {len(lengths) - 1}, asked for {list(ids)}")
        steps = lengths[ids_array]
        fits = steps >= max(sampling.span, 1)
        if not fits.any():
            raise ValueError(
                f"{episodes.root}: a window takes {sampling.span} environment steps, the longest of "
                f"{len(ids_array)} episodes has {steps.max(initial=0)}; set data.num_frames or "
                "model.action_block lower, or collect longer episodes"
            )
        if not fits.all():
            logger.warning(
                "%s: %d of %d episodes are left out, shorter than the %d environment steps of a window (%s)",
                episodes.root,
                len(fits) - fits.sum(),
                len(fits),
                sampling.span,
                ", ".join(map(str, ids_array[~fits][:10])) + (" ..." if (~fits).sum() > 10 else ""),
            )
        counts = (steps[fits] - sampling.span) // stride + 1
        return cls(ids_array[fits], np.cumsum(counts), stride)

    def __len__(self) -> int:
        return int(self.ends[-1])

    def __getitem__(self, number: int) -> tuple[int, int]:
        """Return (episode, environment step) of a window."""
        place = int(np.searchsorted(self.ends, number, side="right"))
        before = int(self.ends[place - 1]) if place else 0
        return int(self.ids[place]), (number - before) * self.stride


class _Windows(Dataset[Any]):
    """The windows by sample number: in the seeded order of a run, or (``order`` None) one after the other."""

    def __init__(
        self,
        episodes: Episodes,
        starts: WindowStarts,
        sampling: WindowSampling,
        size: int,
        camera: str | None,
        order: SampleOrder | None,
    ):
        if size < 1:
            raise ValueError(f"data.size={size}: expected a positive number of pixels")
        if camera is not None and camera not in episodes.spec.cameras:
            raise ValueError(
                f"there is no camera {camera!r} in {episodes.root}; it has {', '.join(episodes.spec.cameras)}"
            )
        self._episodes, self._starts, self._sampling = episodes, starts, sampling
        self._size, self._camera, self._order = size, camera, order

    def __getitems__(self, numbers: list[int]) -> dict[str, Any]:
        """Return the fields of a batch; a dictionary, which torch knows how to move into page-locked memory.

        Frames are decoded to where they stay: filling fresh memory twice costs more than decoding.
        """
        sampling, rows = self._sampling, len(numbers)
        frames = np.empty((rows, sampling.num_frames, 3, self._size, self._size), np.uint8)
        windows = [self._window(number) for number in numbers]
        found = [self._read(*window, out) for window, out in zip(windows, frames, strict=True)]
        k, blocks = sampling.action_block, sampling.num_steps - 1
        fields = {
            "frames": frames,
            "actions": np.stack([one.actions for one in found]).reshape(
                rows, blocks, k * self._episodes.spec.action.dim
            ),
            "rewards": np.stack([one.rewards for one in found]).reshape(rows, blocks, k).sum(2),
            "terminated": np.stack([one.terminated for one in found]).reshape(rows, blocks, k).any(2),
        }
        for name in ("proprioception", "state"):
            values = [getattr(one, name) for one in found]
            if values[0] is not None:
                fields[name] = np.stack(values)[:, ::k]
        paths = tuple(f"episode {episode} @ {start}" for episode, start in windows)
        return {name: torch.from_numpy(values) for name, values in fields.items()} | {"paths": paths}

    def _window(self, number: int) -> tuple[int, int]:
        return self._starts[number if self._order is None else self._order.draw(number).file]

    def _read(self, episode: int, start: int, out: UInt8[np.ndarray, "f c y x"]) -> Excerpt:
        """Return a window whose frames are in ``out``."""
        frame_ids, stop = self._sampling.frame_ids(start), start + self._sampling.span
        found = self._episodes.read(episode, frame_ids, start, stop, self._camera, out)
        if found.frames is not out:
            out[:] = _fit(found.frames, self._size)
        return found


def _fit(frames: UInt8[np.ndarray, "f c y x"], size: int) -> UInt8[np.ndarray, "f c size size"]:
    scaled = target_size(frames.shape[-2], frames.shape[-1], size)
    return v2.center_crop(resize_frames(torch.from_numpy(frames), scaled), [size, size]).numpy()


def _unchanged(fields: dict[str, Any]) -> dict[str, Any]:
    return fields


def _loader(
    dataset: _Windows, rows: RankRows | OrderedRows, first: int, last: int, num_workers: int, pin_memory: bool
) -> ClipLoader:
    steps = StepLoader(
        dataset, rows, first, last, collate=_unchanged, num_workers=num_workers, pin_memory=pin_memory
    )
    return ClipLoader(steps, _batches(steps))


def _batches(steps: StepLoader) -> Iterator[Batch]:
    for fields in steps:
        yield Batch(**fields)
