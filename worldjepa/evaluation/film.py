"""Episodes of planning to look at: the goal, what the model imagined, and what happened.

They are played once more from the actions taken: the environment is deterministic.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Int, UInt8
from PIL import Image, ImageDraw
from torch import Tensor

from worldjepa.evaluation.goals import Ground, Tasks
from worldjepa.evaluation.players import Planner, Played
from worldjepa.films import write_mp4
from worldjepa.planning.history import Clock, as_clips

if TYPE_CHECKING:
    from worldjepa.model.world_model import WorldModel

TILE, GAP, TEXT = 128, 4, 16
SMALL, LABEL = 64, 100  # on the contact sheet
COLUMNS = 11  # moments of an episode on the contact sheet
FPS = 10
PANELS = ("goal", "imagined", "real")


@dataclass(frozen=True, eq=False)
class Reel:
    """One episode. ``real``: every observation from the start on.

    ``imagined[i]``: what the plan in force at observation i promised for the end of the running action block;
    ``promised[i]``: for its last step. None where no head draws pixels.
    """

    title: str
    goal: UInt8[np.ndarray, "y x 3"]
    real: UInt8[np.ndarray, "f y x 3"]
    imagined: UInt8[np.ndarray, "f y2 x2 3"] | None = None
    promised: UInt8[np.ndarray, "f y2 x2 3"] | None = None


def choose(played: Played, count: int) -> Int[np.ndarray, " n"]:
    """Return the tasks to be shown: failures in up to half of the places, else successes, in order."""
    missed, reached = np.flatnonzero(~played.reached), np.flatnonzero(played.reached)
    failures = missed[: max(count // 2, count - len(reached))]
    return np.concatenate([failures, reached[: count - len(failures)]])


def shoot(
    ground: Ground, tasks: Tasks, played: Played, planner: Planner, model: WorldModel, rows: Sequence[int]
) -> list[Reel]:
    """Play ``rows`` of the tasks once more and look."""
    chosen = Tasks([tasks.tasks[row] for row in rows], 0, 0)
    real = _replayed(ground, chosen, played.actions[list(rows)])
    drawn = None
    if "pixels" in model.heads and planner.plans:
        drawn = _imagined(model, planner, real, played.actions[list(rows)], list(rows))
    reels = []
    for place, row in enumerate(rows):
        steps = int(played.steps[row])
        end = steps + 1 if steps else len(real[place])
        task = chosen.tasks[place]
        verdict = f"reached after {steps} steps" if steps else f"not reached in {end - 1} steps"
        kind = f"{task.group}, " if task.group else ""
        title = f"{kind}episode {task.start.episode} step {task.start.step}: {verdict}"
        dreams = [None, None] if drawn is None else [part[place][:end] for part in drawn]
        reels.append(Reel(title, task.at_goal.frame, real[place][:end], *dreams))
    return reels


def contact_sheet(reels: Sequence[Reel]) -> Image.Image:
    """Draw each episode as strips over time, the goal at the left."""
    strips = max(
        sum(part is not None for part in (reel.real, reel.imagined, reel.promised)) for reel in reels
    )
    band = TEXT + strips * (SMALL + GAP) + 2 * GAP
    step, left = SMALL + GAP, SMALL + LABEL
    sheet = Image.new("RGB", (left + COLUMNS * step, len(reels) * band + GAP), "white")
    draw = ImageDraw.Draw(sheet)
    for index, reel in enumerate(reels):
        top = GAP + index * band
        draw.text((GAP, top), reel.title, fill="black")
        sheet.paste(_tile(reel.goal, SMALL), (GAP, top + TEXT))
        draw.text((GAP, top + TEXT + SMALL), "goal", fill="gray")
        moments = np.linspace(0, len(reel.real) - 1, min(COLUMNS, len(reel.real))).round().astype(int)
        parts = {
            "real": reel.real,
            "block's end, imagined": reel.imagined,
            "plan's end, imagined": reel.promised,
        }
        for line, (name, frames) in enumerate((n, f) for n, f in parts.items() if f is not None):
            y = top + TEXT + line * step
            draw.multiline_text((SMALL + 3 * GAP, y), name.replace(", ", "\n"), fill="gray")
            for column, moment in enumerate(moments):
                sheet.paste(_tile(frames[moment], SMALL), (left + column * step, y))
    return sheet


def write_film(path: Path, reels: Sequence[Reel]) -> None:
    """Write all episodes side by side as an mp4; one that is over stands still."""
    columns = 1 if len(reels) == 1 else 2
    lines = -(-len(reels) // columns)
    width, height = 3 * (TILE + GAP) + 2 * GAP, TEXT + TILE + 2 * GAP
    moments = range(max(len(reel.real) for reel in reels) + FPS)  # the end can be looked at

    def canvas(moment: int) -> np.ndarray:
        drawn = Image.new("RGB", (columns * width, lines * height), "white")
        for index, reel in enumerate(reels):
            drawn.paste(_panels(reel, moment), (index % columns * width, index // columns * height))
        return np.asarray(drawn)

    write_mp4(path, map(canvas, moments), fps=FPS)


def _panels(reel: Reel, moment: int) -> Image.Image:
    """Draw goal, imagined and real frame of one moment."""
    panels = Image.new("RGB", (3 * (TILE + GAP), TEXT + TILE), "white")
    moment = min(moment, len(reel.real) - 1)
    draw = ImageDraw.Draw(panels)
    draw.text((GAP, 0), reel.title, fill="black")
    shown = (reel.goal, None if reel.imagined is None else reel.imagined[moment], reel.real[moment])
    for place, (name, frame) in enumerate(zip(PANELS, shown, strict=True)):
        if frame is not None:
            corner = (GAP + place * (TILE + GAP), TEXT)
            panels.paste(_tile(frame, TILE), corner)
            draw.text((corner[0] + GAP, TEXT + TILE - 13), name, fill="gray")
    return panels


def _tile(frame: UInt8[np.ndarray, "y x 3"], side: int) -> Image.Image:
    return Image.fromarray(frame).resize((side, side))


def _replayed(ground: Ground, tasks: Tasks, actions: np.ndarray) -> UInt8[np.ndarray, "n f y x 3"]:
    """Return what is seen while ``actions [n k a]`` (in model form) are done from the starts of tasks."""
    with ground.arena(len(tasks.tasks)) as arena:
        ground.go_to(arena, tasks.starts)
        frames = [arena.frames.copy()]
        for step in range(actions.shape[1]):
            arena.step(arena.spec.to_env(actions[:, step]))
            frames.append(arena.frames.copy())
    return np.stack(frames, axis=1)


@torch.no_grad()
def _imagined(
    model: WorldModel, planner: Planner, real: np.ndarray, actions: np.ndarray, rows: list[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Return what the plans of ``rows`` promised at every moment: for the running block, and for their ends.

    The model saw the past as the controller showed it.
    """
    block, every = model.action_block, planner.controller.replan_every
    latents = _encoded(model, real)
    blocks = torch.from_numpy(actions[:, : (latents.shape[1] - 1) * block])
    blocks = blocks.reshape(len(actions), -1, block * actions.shape[2]).to(model.device)
    now, end = [], []
    for number, plan in enumerate(planner.plans):
        at = number * every
        first = max(0, at + 1 - planner.controller.history)
        past = blocks[:, first:at] if at > first else None
        candidates = torch.from_numpy(plan[rows]).to(model.device)
        future = model.rollout(latents[:, first : at + 1], candidates, past_actions=past)
        frames = (model.heads["pixels"](future).clamp(0, 1) * 255).round().to(torch.uint8)
        frames = frames.movedim(2, -1).cpu().numpy()
        now += [frames[:, i // block] for i in range(every * block)]
        end += [frames[:, -1]] * (every * block)
    shown = real.shape[1]
    now, end = now + now[-1:], end + end[-1:]  # of the last observation, at which nothing is planned any more
    return np.stack(now, axis=1)[:, :shown], np.stack(end, axis=1)[:, :shown]


def _encoded(model: WorldModel, real: UInt8[np.ndarray, "n f y x 3"]) -> Tensor:
    """Encode the observations at the ends of action blocks, as the controller's clock takes them."""
    clock = Clock(model.encoder.frames_per_step, model.action_block, None)
    ends = range(0, real.shape[1], model.action_block)
    ids = [max(0, end - back) for end in ends for back in clock.back]
    return model.encode(as_clips([list(clip[ids]) for clip in real], model))
