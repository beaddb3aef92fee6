"""A noisy policy for PushT that goes round the block and pushes it, by turns with moves at random.

So that a model sees contact from all sides, pushes that turn the block, and hits that a planner may try.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

NOISE = 12.0  # pixels: standard deviation of what is added to a way
AROUND = 105.0  # pixels from the block's centre at which the disc goes round it: beyond its corners
SIDEWAYS = 30.0  # pixels: standard deviation of how far a push goes past the centre, which turns the block
LENGTH = (40.0, 150.0)  # pixels, of a push
PACE = (15.0, 50.0)  # pixels ahead of the disc that it is sent to, by leg: about four times what it moves
STRAY = 70.0  # pixels: the most of a held random way
BEGUN, DONE = 20.0, 15.0  # pixels from the places where a push begins and ends
EDGE = 30.0  # pixels from the board's edge that a push keeps away from
BOARD = 512.0
STRAYING = 0.25  # share of legs that hold a random way
LONGEST = 30  # steps of a leg, and again of its push
SIDES = 6  # tries to find a side to push from where the push stays on the board


@dataclass
class Leg:
    """What is done next, for ``left`` steps: hold the way ``held``, or push the block from ``side``.

    ``side`` is a unit vector from the block's centre, ``past`` what is added to where the push begins, and
    ``end`` where it ends, once it has begun.
    """

    left: int
    pace: float
    length: float
    side: Float[np.ndarray, " 2"]
    past: Float[np.ndarray, " 2"]
    held: Float[np.ndarray, " 2"] | None = None
    end: Float[np.ndarray, " 2"] | None = None

    @classmethod
    def drawn(cls, draws: Float[np.ndarray, "k 6"], sideways: float, block: Float[np.ndarray, " 2"]) -> Leg:
        """Draw a leg from uniform numbers and a normal one: a side is taken where there is room to push."""
        first = draws[0]
        pace, length = (
            low + (high - low) * x for (low, high), x in zip((PACE, LENGTH), first[4:], strict=True)
        )
        angles = 2 * np.pi * draws[:, 1]
        sides = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        ways = np.stack([block + AROUND * sides, block - length * sides])
        room = ((ways > EDGE) & (ways < BOARD - EDGE)).all(axis=(0, 2))
        side = sides[int(room.argmax())]
        leg = cls(LONGEST, pace, length, side, SIDEWAYS * sideways * np.array([-side[1], side[0]]))
        if first[0] < STRAYING:
            leg.left, leg.held = int(LONGEST * (0.2 + 0.3 * first[1])), STRAY * (2 * first[2:4] - 1)
        return leg

    def way(self, agent: Float[np.ndarray, " 2"], block: Float[np.ndarray, " 2"]) -> Float[np.ndarray, " 2"]:
        """Return the way from ``agent`` that the leg asks for, and count the step."""
        self.left -= 1
        if self.held is not None:
            return self.held
        begin = block + AROUND * self.side + self.past
        if self.end is None and np.hypot(*(begin - agent)) < BEGUN:
            self.end, self.left = begin - (AROUND + self.length) * self.side, LONGEST
        ahead = (_round(agent, block, begin) if self.end is None else self.end) - agent
        far = float(np.hypot(*ahead))
        if self.end is not None and far < DONE:
            self.left = 0
        return ahead * min(1.0, self.pace / max(far, 1e-6))


class Pushing:
    """One episode of the policy: leg after leg."""

    def __init__(self) -> None:
        self.leg: Leg | None = None

    def act(
        self, rng: np.random.Generator, agent: Float[np.ndarray, " 2"], block: Float[np.ndarray, " 2"]
    ) -> Float[np.ndarray, " 2"]:
        """Return the way to send the disc, pixels in [-100, 100], by as many draws at every step.

        ``agent`` and ``block`` are where the disc and the block's centre of mass are.
        """
        draws, noise = rng.random((SIDES, 6)), rng.standard_normal(3)
        if self.leg is None or self.leg.left <= 0:
            self.leg = Leg.drawn(draws, noise[2], block)
        return np.clip(self.leg.way(agent, block) + NOISE * noise[:2], -100.0, 100.0)


def _round(
    agent: Float[np.ndarray, " 2"], block: Float[np.ndarray, " 2"], target: Float[np.ndarray, " 2"]
) -> Float[np.ndarray, " 2"]:
    """Return the point to go straight to: the target, or first one further along the way round the block."""
    here, there = agent - block, target - block
    turn = np.arctan2(here[0] * there[1] - here[1] * there[0], here @ there)
    if abs(turn) < np.pi / 4:
        return target
    angle = np.arctan2(here[1], here[0]) + np.copysign(np.pi / 4, turn)
    return block + AROUND * 1.1 * np.array([np.cos(angle), np.sin(angle)])
