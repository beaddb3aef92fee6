"""A world whose latent is the position of a bright pixel: the best action is known.

Frames are ``side`` x ``side``; the latent is (row, column) of the brightest pixel, one token 2 wide. An
action moves by that many pixels, a block by the sum of its actions.
"""

from types import SimpleNamespace

import numpy as np
import torch
from torch import nn


class StubWorld(nn.Module):
    """Acts as a ``WorldModel``; ``calls`` counts encoded latent steps, ``contexts`` what it started from."""

    def __init__(self, *, side=32, action_block=1, frames_per_step=1, actions=None, attention="step"):
        super().__init__()
        self.moves = torch.eye(2) if actions is None else torch.tensor(actions)  # [width 2] of one-hots
        self.action_block, self.image_size, self.heads = action_block, side, {}
        self.predictor = SimpleNamespace(
            action_dim=action_block * len(self.moves), proprioception_dim=0, grid=SimpleNamespace(p=1)
        )
        self.encoder = SimpleNamespace(frames_per_step=frames_per_step, attention=attention)
        self.device, self.calls, self.contexts = torch.device("cpu"), 0, []
        self.eval()

    def encode(self, frames):
        """Return the position in the last frame of each latent step."""
        b, f, _, _, side = frames.shape
        self.calls += b * f // self.encoder.frames_per_step
        ends = frames[:, self.encoder.frames_per_step - 1 :: self.encoder.frames_per_step, 0]
        place = ends.flatten(2).argmax(-1)
        return torch.stack([place // side, place % side], dim=-1).float().unsqueeze(2)

    def start(self, latents, *, past_actions=None, lengths=None, proprioception=None):
        """Keep the last position."""
        context = {"latents": latents, "past_actions": past_actions, "lengths": lengths}
        self.contexts.append(context | {"proprioception": proprioception})
        return latents[:, -1, 0]

    def futures(self, state, actions):
        """Add up the moves."""
        blocks = actions.unflatten(-1, (self.action_block, len(self.moves)))
        moves = (blocks @ self.moves.to(actions)).sum(dim=-2).cumsum(dim=-2)
        return (state[:, None, None] + moves).unsqueeze(-2)


class StubEnv:
    """``n`` dots on a sheet of ``side`` pixels; ``moves`` as in the world; positions are real numbers."""

    def __init__(self, starts, *, side=32, moves=None):
        self.positions, self.side = np.array(starts, np.float64), side
        self.moves = np.eye(2) if moves is None else np.array(moves)

    def frames(self, positions=None):
        """Draw the dots, uint8 [n y x 3]."""
        positions = self.positions if positions is None else np.array(positions)
        frames = np.zeros((len(positions), self.side, self.side, 3), np.uint8)
        row, column = np.clip(np.rint(positions), 0, self.side - 1).astype(int).T
        frames[np.arange(len(positions)), row, column] = 255
        return frames

    def step(self, actions):
        """Move by actions [n width]; return frames."""
        self.positions = np.clip(self.positions + np.asarray(actions) @ self.moves, 0, self.side - 1)
        return self.frames()
