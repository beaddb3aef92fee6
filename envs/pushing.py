"""A noisy policy for PushT that goes round the block and pushes it, by turns with moves at random.

So that a model sees contact from all sides, pushes that turn the block, and hits that a planner may try.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

NOISE = 12.0  # pixels: standard deviation of what is added to a way
AROUND = 105.0  # pixels from the block's centre at which the disc goes round it: beyond its corners
SIDEWAYS = 30.0  # pixels: standard deviation of how far a push goes past the centre, which turns the block
LENGTH = (40.0, 150.0)  # pixels, of a push
PACE = (15.0, 50.0)  # pixels ahead of the disc that it is sent to, by leg: about four times what it moves
EDGE = 30.0  # pixels from the board's edge that a push keeps away from
BOARD = 512.0
STRAYING = 0.25  # share of legs that follow a held random way
LONGEST = 30  # steps of a leg
SIDES = 6  # tries to find a side to push from where the push stays on the board


class Pushing:
    """The present leg of one episode: where it begins and ends, how fast, whether it has begun to push."""

    def __init__(self) -> None:
        self.left = 0  # steps of the leg

    def act(
        self, rng: np.random.Generator, agent: Float[np.ndarray, " 2"], block: Float[np.ndarray, " 2"]
    ) -> Float[np.ndarray, " 2"]:
        """Return the way to send the disc, pixels in [-100, 100]; the same number of draws at every step."""
        draws, noise = rng.random((SIDES, 6)), rng.standard_normal(3)
        if self.left <= 0:
            self._renew(draws, noise[2], agent, block)
        self.left -= 1
        way = self.held if self.straying else self._ahead(agent, block)
        return np.clip(way + NOISE * noise[:2], -100.0, 100.0)

    def _renew(
        self,
        draws: Float[np.ndarray, "k 6"],
        sideways: float,
        agent: Float[np.ndarray, " 2"],
        block: Float[np.ndarray, " 2"],
    ) -> None:
        """Begin a leg: hold a way, or push the block from a side where there is room."""
        self.straying = bool(draws[0, 0] < STRAYING)
        self.left = int(LONGEST * (0.2 + 0.3 * draws[0, 1])) if self.straying else LONGEST
        self.held = 140.0 * (draws[0, 2:4] - 0.5)
        self.pace = PACE[0] + (PACE[1] - PACE[0]) * draws[0, 4]
        self.length = LENGTH[0] + (LENGTH[1] - LENGTH[0]) * draws[0, 5]
        angles = 2 * np.pi * draws[:, 1]
        sides = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        ways = np.stack([block + AROUND * sides, block - self.length * sides])
        room = ((ways > EDGE) & (ways < BOARD - EDGE)).all(axis=(0, 2))
        self.side = sides[int(room.argmax())]
        across = np.array([-self.side[1], self.side[0]])
        self.past = SIDEWAYS * sideways * across
        self.pushing = False

    def _ahead(
        self, agent: Float[np.ndarray, " 2"], block: Float[np.ndarray, " 2"]
    ) -> Float[np.ndarray, " 2"]:
        """Return the way round the block to where the push begins, then the push."""
        begin = block + AROUND * self.side + self.past
        if not self.pushing and np.hypot(*(begin - agent)) < 20.0:
            self.pushing = True
            self.end = begin - (AROUND + self.length) * self.side
            self.left = LONGEST
        target = self.end if self.pushing else _round(agent, block, begin)
        ahead = target - agent
        far = float(np.hypot(*ahead))
        if self.pushing and far < 15.0:
            self.left = 0
        return ahead * min(1.0, self.pace / max(far, 1e-6))


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
