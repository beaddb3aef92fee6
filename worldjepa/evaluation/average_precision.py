"""Average precision of detections: the area under precision against recall, as PASCAL VOC has it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torchvision.ops import box_iou

IOU = 0.5


@dataclass(frozen=True)
class Matched:
    """The detections of one picture: scores, which of them are right, and how many boxes there are."""

    scores: Float[Tensor, " k"]
    right: Bool[Tensor, " k"]
    truths: int


def match(
    boxes: Float[Tensor, "k 4"], scores: Float[Tensor, " k"], truths: Float[Tensor, "o 4"], iou: float = IOU
) -> Matched:
    """Give each detection, best score first, the true box it overlaps most, if that is ``iou`` or more.

    A true box is found once: who comes later to the same one is wrong.
    """
    order = scores.argsort(descending=True, stable=True)
    right = torch.zeros(len(scores), dtype=torch.bool)
    taken = set()
    overlap = box_iou(boxes, truths)
    for index in order.tolist() if len(truths) else []:
        best = int(overlap[index].argmax())
        if float(overlap[index, best]) >= iou and best not in taken:
            taken.add(best)
            right[index] = True
    return Matched(scores, right, len(truths))


def average_precision(pictures: Sequence[Matched]) -> float:
    """Return the average precision over all pictures; NaN where there is nothing to find.

    Precision at a recall is the best precision at that recall or above (Everingham et al., The PASCAL Visual
    Object Classes Challenge: A Retrospective, 2015, section 2).
    """
    total = sum(picture.truths for picture in pictures)
    if not total:
        return float("nan")
    scores = torch.cat([picture.scores for picture in pictures])
    right = torch.cat([picture.right for picture in pictures])[scores.argsort(descending=True, stable=True)]
    found = right.double().cumsum(dim=0)
    precision = found / torch.arange(1, len(found) + 1)
    envelope = precision.flip(0).cummax(dim=0).values.flip(0)
    return float((envelope * right).sum() / total)  # recall rises by 1 / total at each right one
