"""Surprise: how far what is seen lies from what was predicted, in latent space, and what it can tell apart.

A window of a video is encoded from its first latent steps alone, the masked predictor says what the next one
will be, and the target encoder, which sees the whole window, says what it is (V-JEPA's violation of
expectation, arXiv:2502.11831). The surprise of a window is the root mean square error of the tokens predicted
worst, since what cannot be happens in one place; that of a video is the largest of its windows'.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from worldjepa.evaluation.foresight import foresee
from worldjepa.evaluation.intervals import bootstrap
from worldjepa.model.world_model import WorldModel

WORST = 0.1  # share of the tokens of a step that make its surprise


@dataclass(frozen=True)
class Windows:
    """How windows are laid over a video: ``frames`` of them, every ``skip``-th, from every start on."""

    frames: int
    skip: int

    @property
    def span(self) -> int:
        """Frames of the video that a window reaches over."""
        return (self.frames - 1) * self.skip + 1

    def cut(self, videos: UInt8[Tensor, "b f c y x"]) -> UInt8[Tensor, "b w g c y x"]:
        """Return the windows of each video.

        Raises:
            ValueError: the videos are shorter than a window.
        """
        if videos.shape[1] < self.span:
            raise ValueError(f"a video of {videos.shape[1]} frames is shorter than a window of {self.span}")
        starts = range(videos.shape[1] - self.span + 1)
        return torch.stack([videos[:, i : i + self.span : self.skip] for i in starts], dim=1)


@torch.no_grad()
def surprise(
    model: WorldModel, videos: UInt8[Tensor, "b f c y x"], windows: Windows, given: Sequence[int]
) -> Float[Tensor, "g b w"]:
    """Return the surprise of each window, for each number of latent steps that is shown of it.

    Of ``given`` steps shown it is that of the next one.

    Raises:
        NoForesightError: the model has no masked predictor.
        ValueError: videos shorter than a window, or nothing left to predict.
    """
    found: list[list[Tensor]] = [[] for _ in given]
    for part in windows.cut(videos):  # a video's windows at a time
        seen = model.encode(part).float()
        for column, steps in zip(found, given, strict=True):
            predicted = foresee(model, part, steps)[1][:, 0].float()
            column.append(worst((predicted - seen[:, steps]).square().mean(dim=-1).sqrt()).cpu())
    return torch.stack([torch.stack(column) for column in found])


def frame_curve(
    by_window: Float[Tensor, "b w"], windows: Windows, given: int, frames_per_step: int
) -> Float[Tensor, "b f"]:
    """Return surprise by frame: the mean of the windows whose predicted step shows the frame, else NaN."""
    b, w = by_window.shape
    total, count = torch.zeros(b, w + windows.span - 1), torch.zeros(w + windows.span - 1)
    for index in range(w):
        for step in range(given * frames_per_step, (given + 1) * frames_per_step):
            total[:, index + step * windows.skip] += by_window[:, index]
            count[index + step * windows.skip] += 1
    return total / count.masked_fill(count == 0, torch.nan)


def pixel_surprise(
    videos: UInt8[Tensor, "b f c y x"], skip: int, places: tuple[int, int]
) -> Float[Tensor, "b g"]:
    """Return the same of who expects nothing to change: the difference of frames ``skip`` apart.

    It is averaged over ``places`` (rows, columns) of the picture, those of the tokens, and the worst count.
    """
    pixels = videos.float() / 255
    change = (pixels[:, skip:] - pixels[:, :-skip]).abs().mean(dim=2)
    return worst(F.adaptive_avg_pool2d(change, places).flatten(2))


def worst(errors: Float[Tensor, "b f p"] | Float[Tensor, "w p"]) -> Tensor:
    """Return the mean of the largest ``WORST`` share of the last axis, at least of one."""
    count = max(1, round(WORST * errors.shape[-1]))
    return errors.topk(count, dim=-1).values.mean(dim=-1)


def roc_area(negative: Float[Tensor, " n"], positive: Float[Tensor, " m"]) -> float:
    """Return the area under the ROC: the chance that a positive scores above a negative (half if equal)."""
    above = (positive[:, None] > negative).double() + 0.5 * (positive[:, None] == negative).double()
    return float(above.mean())


def roc_interval(negative: Float[Tensor, " n"], positive: Float[Tensor, " n"]) -> tuple[float, float]:
    """Return the interval of ``roc_area`` over resampled pairs of twins."""
    return bootstrap(lambda ids: roc_area(negative[ids], positive[ids]), len(negative))
