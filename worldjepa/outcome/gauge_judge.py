"""What is measured of a run without fitting anything: gauges of its latents, and surprise."""

from __future__ import annotations

from dataclasses import replace

import torch
import torchvision.transforms.v2.functional as V
from torch import Tensor

from worldjepa.data.clips.physics import KINDS, draw_twins
from worldjepa.data.clips.transforms import EvalTransform, TrainTransform
from worldjepa.evaluation import gauges
from worldjepa.evaluation.findings import Figure, Finding
from worldjepa.evaluation.foresight import check_foresight
from worldjepa.evaluation.latents import UNTRAINED, encoder_name
from worldjepa.evaluation.probes import NoProbeError
from worldjepa.evaluation.surprise import (
    Windows,
    frame_curve,
    pixel_surprise,
    roc_area,
    roc_interval,
    surprise,
)
from worldjepa.model.world_model import WorldModel
from worldjepa.outcome.evaluated import Subject
from worldjepa.seeding import derive_seed

GAUGED, VIEWS = 256, 8  # clips, and augmented views of each
FIRST_TWIN = 1000  # number of the first pair: how surprise is measured was chosen on earlier ones


def judge_gauges(subject: Subject) -> Finding:
    """Take the gauges of the target encoder, beside those before training.

    Raises:
        NoProbeError: fewer than two clips.
    """
    frames = subject.frames(GAUGED)
    if len(frames) < 2:
        raise NoProbeError(f"gauges are taken of 2 clips or more, got {len(frames)}")
    views = _views(subject, frames)
    models = {encoder_name(subject.model): subject.model, UNTRAINED: subject.untrained}
    rows = {name: _gauges(model, frames, views) for name, model in models.items()}
    most = min(len(frames), subject.model.encoder.latent_dim)
    note = (
        f"of {len(frames)} clips, {VIEWS} augmented views of each; RankMe and LiDAR: 1 to {most}; alignment: "
        "of two views of one clip, then of different clips"
    )
    return Finding("Gauges of the latents", rows, note)


def _views(subject: Subject, frames: Tensor) -> Tensor:
    """Return views as training draws them, [n v f c y x]."""
    data = subject.run.data
    assert data.size is not None and data.crop_scale is not None
    transform = TrainTransform(data.size, data.crop_scale, data.crop_aspect, data.flip)
    generator = torch.Generator().manual_seed(derive_seed(subject.asked.seed, 5))
    return torch.stack([torch.stack([transform(clip, generator) for _ in range(VIEWS)]) for clip in frames])


@torch.no_grad()
def _gauges(model: WorldModel, frames: Tensor, views: Tensor) -> dict[str, Figure]:
    paths = torch.cat([model.encode(part).mean(dim=2).float().cpu() for part in frames.split(64)])
    flat = views.flatten(0, 1).split(64)
    pooled = torch.cat([model.encode(part).mean(dim=(1, 2)).float().cpu() for part in flat])
    seen = pooled.unflatten(0, views.shape[:2])
    clips = paths.mean(dim=1)
    same, other = gauges.alignment(seen)
    mean, least, dead = gauges.variance(clips)
    found = {
        "RankMe": gauges.rankme(clips),
        "LiDAR": gauges.lidar(seen),
        "variance": mean,
        "least": least,
        "dead": dead,
        "alignment": same,
        "of others": other,
    }
    if paths.shape[1] > 2:
        found["straightness"] = gauges.straightness(paths)
    return {name: Figure(value) for name, value in found.items()}


def judge_surprise(subject: Subject) -> Finding:
    """Tell clips that break physics from their possible twins by surprise, beside pixel differences."""
    check_foresight(subject.model, "surprise", subject.grid.t)
    windows, steps = _windows(subject), subject.grid.t
    every, given = range(1, steps), _steps_shown(subject)
    numbers = range(FIRST_TWIN, FIRST_TWIN + subject.asked.eval.twins)
    by_steps: dict[int, list[Tensor]] = {shown: [] for shown in every}
    untrained, pixels, curves = [], [], {}
    for kind in KINDS:
        pairs = _twins(subject, windows, kind, numbers).flatten(0, 1)
        found = surprise(subject.model, pairs, windows, every)
        for shown, part in zip(every, found, strict=True):
            by_steps[shown].append(part.amax(dim=1).unflatten(0, (-1, 2)))
        blank = surprise(subject.untrained, pairs, windows, [given])[0]
        untrained.append(blank.amax(dim=1).unflatten(0, (-1, 2)))
        change = pixel_surprise(pairs, windows.skip, (subject.grid.h, subject.grid.w))
        pixels.append(change.amax(dim=1).unflatten(0, (-1, 2)))
        curve = frame_curve(found[given - 1], windows, given, windows.frames // steps)
        lines = zip(("possible", "impossible"), curve.unflatten(0, (-1, 2)).mean(dim=0), strict=True)
        curves[kind] = {name: _plain(line) for name, line in lines}
    scores = {"surprise": by_steps[given], "untrained": untrained, "pixel differences": pixels}
    rows = {name: _areas(parts) for name, parts in scores.items()}
    others = {str(shown): _areas(parts)["all"].to_dict() for shown, parts in by_steps.items()}
    note = (
        f"area under the ROC, {len(numbers)} pairs of each kind; {given} of {steps} latent steps shown, the "
        "next one compared with its prediction, the worst window of a video counts; twins: share of pairs in "
        "which the impossible one surprises more"
    )
    details = {"curves": curves, "latent steps shown": given, "all, by latent steps shown": others}
    return Finding("Possible and impossible clips told apart by surprise", rows, note, details)


def _steps_shown(subject: Subject) -> int:
    """Return how many latent steps training showed where it hid the future; half, where it never did."""
    shares = [
        float(mask["context_share"]) for mask in subject.run.masking.values() if "context_share" in mask
    ]
    steps = subject.grid.t
    return min(max(1, round((shares[0] if shares else 0.5) * steps)), steps - 1)


def _windows(subject: Subject) -> Windows:
    data = subject.run.data
    assert data.num_frames is not None
    skip = data.frame_skip or max(1, round(subject.corpus_settings.fps / (data.fps or 1)))
    return Windows(data.num_frames, skip)


def _twins(subject: Subject, windows: Windows, kind: str, numbers: range) -> Tensor:
    """Return pairs of videos, the possible one first, cut as clips are: uint8 [n 2 f c y x]."""
    settings, size = subject.corpus_settings, subject.run.data.size
    assert size is not None
    settings = replace(settings, frames=max(settings.frames, windows.span + 1))
    transform = EvalTransform(size)
    scaled = transform.decode_size(settings.size, settings.size)
    pairs = []
    for number in numbers:
        twins = draw_twins(kind, settings, number)
        both = torch.stack([torch.from_numpy(video) for video in (twins.possible, twins.impossible)])
        planes = V.resize(both.permute(0, 1, 4, 2, 3), [scaled], antialias=True)
        pairs.append(transform(planes.flatten(0, 1), torch.Generator()).unflatten(0, (2, -1)))
    return torch.stack(pairs)


def _areas(parts: list[Tensor]) -> dict[str, Figure]:
    """Return the area of each kind, of all together, and the share of twins told apart."""
    every = torch.cat(parts)
    named = {**dict(zip(KINDS, parts, strict=True)), "all": every}
    found = {
        name: Figure(roc_area(pair[:, 0], pair[:, 1]), *roc_interval(pair[:, 0], pair[:, 1]))
        for name, pair in named.items()
    }
    return {**found, "twins": Figure.share(int((every[:, 1] > every[:, 0]).sum()), len(every))}


def _plain(line: Tensor) -> list[float | None]:
    """Return numbers for JSON, None where there are none."""
    return [None if value != value else round(value, 5) for value in line.tolist()]
