"""What a controller remembers of each environment since its last reset."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int
from torch import Tensor

from worldjepa.data.collection.recording import resized
from worldjepa.types import ActionDist

if TYPE_CHECKING:
    from worldjepa.planning.world import World


@dataclass(frozen=True)
class Clock:
    """How frames make latent steps: ``frames_per_step`` of them, the last at the end of an action block.

    ``keep``: how many latent steps are remembered (None: all since the reset).
    """

    frames_per_step: int
    action_block: int
    keep: int | None

    def __post_init__(self):
        if self.action_block % self.frames_per_step:
            raise ValueError(
                f"the model has {self.frames_per_step} frames a latent step and action blocks of "
                f"{self.action_block}: the frames would not lie a whole number of environment steps apart"
            )

    @classmethod
    def of(cls, model: World, history: int) -> Clock:
        """Return a model's clock; ``history`` latent steps are enough where each encodes alone."""
        alone = getattr(model.encoder, "attention", "step") == "step"
        return cls(model.encoder.frames_per_step, model.action_block, history if alone else None)

    @property
    def back(self) -> range:
        """Return how many environment steps before its end each frame of a latent step lies, oldest first."""
        gap = self.action_block // self.frames_per_step
        return range((self.frames_per_step - 1) * gap, -1, -gap)


@dataclass
class LatentStep:
    """One tick of the latent clock; ``latent [p d]`` once it has been needed."""

    frames: list[np.ndarray]
    proprioception: np.ndarray | None
    latent: Tensor | None = None


@dataclass
class Track:
    """One environment: latent steps with the action blocks between them, and the actions to come."""

    clock: Clock
    steps: list[LatentStep] = field(default_factory=list)
    blocks: list[np.ndarray] = field(default_factory=list)
    running: list[np.ndarray] = field(default_factory=list)
    queue: deque[np.ndarray] = field(default_factory=deque)
    dist: ActionDist | None = None
    _frames: deque[np.ndarray] = field(default_factory=deque)
    _seen: bool = False  # since the last action

    def see(self, frame: np.ndarray, proprioception: np.ndarray | None) -> None:
        """Take in the observation after the last action; the first one stands for all before it.

        Of several without an action between them, as when acting was refused and is tried again, the last
        counts.
        """
        clock = self.clock
        again, self._seen = self._seen, True
        if again:
            self._frames.pop()
        self._frames.append(frame)
        while len(self._frames) > clock.back[0] + 1:
            self._frames.popleft()
        if len(self.running) == clock.action_block:
            self.blocks.append(np.concatenate(self.running))
            self.running = []
        if self.running:
            return
        shown = [self._frames[max(0, len(self._frames) - 1 - back)] for back in clock.back]
        if again:
            self.steps.pop()
        self.steps.append(LatentStep(shown, proprioception))
        if clock.keep is not None:
            del self.steps[: -clock.keep]
            del self.blocks[: len(self.blocks) - len(self.steps) + 1]

    def take(self) -> np.ndarray:
        """Return the next action of the queue; it is remembered as done."""
        action = self.queue.popleft()
        self.running.append(action)
        self._seen = False
        return action

    def stand_still(self, block: Float32[np.ndarray, "k width"]) -> None:
        """Do a block of nothing next, and whatever comes after it from a plan made anew."""
        self.queue.extend(block)
        self.dist = None

    def forget_plan(self) -> None:
        """Drop what is planned beyond the running block: the goal is another one now."""
        left = -len(self.running) % self.clock.action_block
        self.queue = deque(list(self.queue)[:left])
        self.dist = None


@dataclass(frozen=True)
class Context:
    """What ``rollout`` takes of the past: ``t`` the longest history among the rows, or as given."""

    latents: Float[Tensor, "b t p d"]
    past_actions: Float[Tensor, "b l a"] | None
    lengths: Int[Tensor, " b"] | None
    proprioception: Float[Tensor, "b t q"] | None


def gather(model: World, tracks: Sequence[Track], history: int) -> Context:
    """Encode what has not been encoded yet and line up the last ``history`` latent steps of each track."""
    _encode(model, tracks)
    lengths = [min(history, len(track.steps)) for track in tracks]
    t = max(lengths)
    rows = [track.steps[-n:] for track, n in zip(tracks, lengths, strict=True)]
    latents = torch.stack([_padded([step.latent for step in row], t, 0.0) for row in rows])
    past = None
    if t > 1:
        width = next(track.blocks[-1] for track in tracks if track.blocks).shape
        nothing = np.zeros(width, np.float32)
        past = np.stack(
            [
                [nothing] * (t - n) + (track.blocks[-(n - 1) :] if n > 1 else [])
                for track, n in zip(tracks, lengths, strict=True)
            ]
        )
        past = torch.from_numpy(past).to(latents.device)
    measured = None
    if rows[0][0].proprioception is not None:
        parts = [
            _padded([torch.as_tensor(step.proprioception) for step in row], t, torch.nan) for row in rows
        ]
        measured = torch.stack(parts).to(latents.device)
    uneven = torch.tensor(lengths, device=latents.device) if min(lengths) < t else None
    return Context(latents, past, uneven, measured)


def _padded(values: Sequence[Any], length: int, fill: float) -> Tensor:
    """Stack the values of a row; those that are missing at its beginning are ``fill``."""
    return torch.stack([torch.full_like(values[0], fill)] * (length - len(values)) + list(values))


def _encode(model: World, tracks: Sequence[Track]) -> None:
    if tracks[0].clock.keep is not None:  # latent steps encode alone: all rows' new ones at once
        new = [step for track in tracks for step in track.steps if step.latent is None]
        if new:
            latents = model.encode(as_clips([step.frames for step in new], model))
            for step, latent in zip(new, latents[:, 0], strict=True):
                step.latent = latent
        return
    for length in sorted({len(track.steps) for track in tracks}):  # the whole past, rows of a length together
        group = [track for track in tracks if len(track.steps) == length]
        clips = [[frame for step in track.steps for frame in step.frames] for track in group]
        for track, latents in zip(group, model.encode(as_clips(clips, model)), strict=True):
            for step, latent in zip(track.steps, latents, strict=True):
                step.latent = latent


def as_clips(clips: Sequence[Sequence[np.ndarray]], model: World) -> Tensor:
    """Return pictures ``[y x 3]`` as clips ``uint8 [b f 3 y x]``, such as the model was trained on.

    Where these were recorded by us, they are resized as for recording, else ``encode`` resizes them.
    """
    squeezed = getattr(model, "fit", "squeeze") == "squeeze"
    size = model.image_size
    frames = np.stack([[resized(frame, size) if squeezed else frame for frame in clip] for clip in clips])
    return torch.from_numpy(frames).movedim(-1, 2)


def truths(name: str, given: Any, count: int) -> Bool[np.ndarray, " b"]:
    """Return what was given as one truth value an environment; ``ValueError`` where it is none."""
    values = np.asarray(given.cpu() if isinstance(given, Tensor) else given)
    if values.dtype != np.bool_ or values.shape != (count,):
        raise ValueError(
            f"{name} must be {count} truth values, one an environment, got {values.dtype} {values.shape}"
        )
    return values
