"""What is really in a clip of the built-in corpus: masks, boxes and state, in the clip's own pixels.

The truth lies beside each video (``corpus.py``) in the video's pixels; here it goes the way that the frames
go: the same frames, the same resize, the same crop.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from worldjepa.data.clips.corpus import read_truth
from worldjepa.data.clips.sampling import CENTRE, ClipSampling
from worldjepa.data.clips.transforms import EvalTransform

STATE = ("x", "y", "area", "speed x", "speed y")
LEAST = 0.01  # share of the picture that a shape has to show to be looked for


@dataclass(frozen=True)
class ClipTruth:
    """Masks and boxes of the shapes ``o`` in each frame ``f`` of a clip.

    ``masks`` are the visible pixels; ``boxes`` are x0, y0, x1, y1 in pixels around the whole shape, cut off
    at the border of the picture; ``seen`` tells which shapes show enough to be looked for.
    """

    masks: Bool[Tensor, "f o y x"]
    boxes: Float[Tensor, "f o 4"]
    seen: Bool[Tensor, "f o"]

    @property
    def state(self) -> Float[Tensor, "f z"]:
        """``STATE`` of each frame: centre of all that shapes cover (0 to 1; the middle where there is none),
        their share of the picture, and by how much the centre moves from the frame before."""
        covered = self.masks.any(dim=1).float()
        f, y, x = covered.shape
        area = covered.mean(dim=(1, 2))
        total = covered.sum(dim=(1, 2)).clamp_min(1)
        centre_x = (covered.sum(dim=1) @ ((torch.arange(x) + 0.5) / x)) / total
        centre_y = (covered.sum(dim=2) @ ((torch.arange(y) + 0.5) / y)) / total
        centre = torch.where(area[:, None] > 0, torch.stack([centre_x, centre_y], dim=1), 0.5)
        speed = torch.cat([centre[1:2] - centre[:1], centre[1:] - centre[:-1]]) if f > 1 else 0 * centre
        return torch.cat([centre, area[:, None], speed], dim=1)


def clip_truth(video: Path, fps: float, sampling: ClipSampling, size: int) -> ClipTruth:
    """Return the truth of the centre clip of a video of the corpus, as ``evaluation_loader`` cuts it."""
    truth = read_truth(video)
    frames = sampling.indices(np.arange(len(truth.boxes)) / fps, CENTRE)
    transform, side = EvalTransform(size), truth.masks.shape[-1]
    scaled = transform.decode_size(side, side)
    top, left = transform.corner(scaled, scaled)
    rows, columns = (((corner + np.arange(size) + 0.5) * side / scaled).astype(int) for corner in (top, left))
    masks = torch.from_numpy(truth.masks[frames][:, :, rows][..., columns])
    boxes = torch.from_numpy(truth.boxes[frames] * np.float32(scaled / side))
    boxes = (boxes - torch.tensor([left, top, left, top])).clamp(0, size)
    return ClipTruth(masks, boxes, masks.float().mean(dim=(2, 3)) >= LEAST)
