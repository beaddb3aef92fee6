"""Detection by a small anchor-free head on frozen tokens: a box and a score from every place, as FCOS does.

FCOS (arXiv:1904.01355): a place near the centre of a box predicts the distances to its four sides; the
smallest box wins where several claim a place. Each latent step is a picture of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float, Float16
from torch import Tensor, nn
from torchvision.ops import generalized_box_iou_loss, nms

from worldjepa.evaluation.average_precision import Matched, average_precision, match
from worldjepa.evaluation.findings import Figure
from worldjepa.evaluation.heads import Schedule, apply, fit_heads
from worldjepa.evaluation.intervals import bootstrap
from worldjepa.evaluation.segmentation import Standardise
from worldjepa.types import Grid

SPLIT = 2  # places along the side of a token's patch
RADIUS = 1.5  # how near the centre of a box, in places, a place has to be to predict it
OVERLAP = 0.5  # of two boxes found, the lower one goes
MOST = 20  # boxes found in a picture


@dataclass(frozen=True)
class Boxes:
    """The boxes of each latent step of each clip, in pixels of a picture of ``size`` (rows, columns)."""

    values: Float[Tensor, "n t o 4"]
    seen: Bool[Tensor, "n t o"]
    size: tuple[int, int]


class DetectionHead(nn.Module):
    """From tokens to ``SPLIT`` x ``SPLIT`` places each: a score, and distances to four sides in places."""

    def __init__(self, tokens: Float16[Tensor, "n t p d"], grid: Grid, width: int = 64):
        super().__init__()
        self.grid = grid
        self.standardise = Standardise(tokens)
        self.narrow = nn.Conv2d(tokens.shape[-1], width, 1)
        self.mix = nn.Conv2d(width, width, 3, padding=1)
        self.out = nn.Conv2d(width, 5 * SPLIT**2, 1)

    def forward(self, tokens: Float[Tensor, "b t p d"]) -> Float[Tensor, "b t places 5"]:
        """Return the score's logit and the logarithms of the distances left, up, right, down."""
        x = rearrange(self.standardise(tokens), "b t (h w) d -> (b t) d h w", h=self.grid.h)
        x = self.out(F.gelu(self.mix(F.gelu(self.narrow(x)))))
        cut = "(b t) (i j c) h w -> b t (h i w j) c"
        return rearrange(x, cut, b=len(tokens), i=SPLIT, j=SPLIT, c=5)


def places(grid: Grid, size: tuple[int, int]) -> tuple[Float[Tensor, "places 2"], float]:
    """Return x, y of every place in pixels, and how far apart they are."""
    rows, columns = grid.h * SPLIT, grid.w * SPLIT
    y, x = (size[0] * (torch.arange(rows) + 0.5) / rows), (size[1] * (torch.arange(columns) + 0.5) / columns)
    return torch.stack([x.repeat(rows), y.repeat_interleave(columns)], dim=1), size[0] / rows


def assign(boxes: Boxes, grid: Grid) -> tuple[Bool[Tensor, "n t places"], Float[Tensor, "n t places 4"]]:
    """Return which places are to predict a box, and which box."""
    where, apart = places(grid, boxes.size)
    values = boxes.values.unsqueeze(2)  # [n t 1 o 4]
    x, y = where[:, None, 0], where[:, None, 1]
    inside = (x > values[..., 0]) & (x < values[..., 2]) & (y > values[..., 1]) & (y < values[..., 3])
    middle = (values[..., :2] + values[..., 2:]) / 2
    near = ((where[:, None] - middle).abs() < RADIUS * apart).all(dim=-1)
    claims = inside & near & boxes.seen.unsqueeze(2)
    area = (values[..., 2:] - values[..., :2]).prod(dim=-1).expand(claims.shape)
    smallest = area.masked_fill(~claims, torch.inf).argmin(dim=-1)  # [n t places]
    chosen = boxes.values.gather(2, smallest[..., None].expand(*smallest.shape, 4))
    return claims.any(dim=-1), chosen


def decode(
    out: Float[Tensor, "*b places 5"], grid: Grid, size: tuple[int, int]
) -> Float[Tensor, "*b places 4"]:
    """Return the boxes that the places predict, x0, y0, x1, y1 in pixels, cut off at the border."""
    where, apart = places(grid, size)
    far = out[..., 1:].clamp(max=6).exp() * apart
    where = where.to(out)
    corners = torch.cat([where - far[..., :2], where + far[..., 2:]], dim=-1)
    return corners.minimum(corners.new_tensor([size[1], size[0], size[1], size[0]])).clamp_min(0)


def detect(
    fit: tuple[Float16[Tensor, "n t p d"], Boxes],
    judge: tuple[Float16[Tensor, "m t p d"], Boxes],
    grid: Grid,
    schedule: Schedule,
    device: torch.device,
) -> Figure:
    """Fit the head to tokens and their boxes; return the AP50 of other clips with its interval over clips."""
    tokens, boxes = fit
    wanted, which = assign(boxes, grid)

    def loss(out: Tensor, ids: Tensor) -> Tensor:
        want = wanted[ids].to(out.device)
        score = F.binary_cross_entropy_with_logits(out[..., 0], want.float())
        found = decode(out, grid, boxes.size)[want]
        return score + generalized_box_iou_loss(found, which[ids].to(out)[want], reduction="sum") / max(
            1, len(found)
        )

    def score(out: Tensor, ids: Tensor) -> Tensor:
        chosen = Boxes(boxes.values[ids], boxes.seen[ids], boxes.size)
        return torch.tensor(average_precision([m for clip in matches(out, chosen, grid) for m in clip]))

    made = fit_heads(tokens, lambda: DetectionHead(tokens, grid), loss, score, schedule, device)
    clips = matches(apply(made.head, judge[0], device), judge[1], grid)
    value = _precision(clips, torch.arange(len(clips)))
    return Figure(value, *bootstrap(lambda ids: _precision(clips, ids), len(clips), resamples=200))


def matches(out: Float[Tensor, "n t places 5"], boxes: Boxes, grid: Grid) -> list[list[Matched]]:
    """Return for every clip and latent step what was found there, compared with the truth."""
    found, scores = decode(out, grid, boxes.size), out[..., 0].sigmoid()
    clips = []
    for n in range(len(out)):
        steps = []
        for t in range(out.shape[1]):
            kept = nms(found[n, t], scores[n, t], OVERLAP)[:MOST]
            truths = boxes.values[n, t][boxes.seen[n, t]]
            steps.append(match(found[n, t][kept], scores[n, t][kept], truths))
        clips.append(steps)
    return clips


def _precision(clips: Sequence[Sequence[Matched]], ids: Tensor) -> float:
    return average_precision([matched for i in ids.tolist() for matched in clips[i]])
