"""A toy world in which the best thing to do is known: a block of actions moves the latent, zero is home."""

import torch
from torch import nn

from worldjepa.data.episodes.action_spec import ActionSpec
from worldjepa.model.world_model import Imagined

BOX = ActionSpec("box", low=(-1.0, -1.0), high=(1.0, 1.0), shape=(2,))
COMPASS = ActionSpec("discrete", sizes=(5,), start=(0,), dtype="int64")
MOVES = [[0.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]]


class Home(nn.Module):
    """Reward: minus the squared distance from zero."""

    def forward(self, latents):
        """Return one number a latent step."""
        return -latents.square().sum(dim=(-2, -1))


class LinearWorld(nn.Module):
    """Acts as a ``WorldModel`` whose latent ``[1 2]`` is moved by half of the action."""

    def __init__(self, moves=None):
        super().__init__()
        self.moves = nn.Parameter(torch.eye(2) if moves is None else torch.tensor(moves))
        self.heads = nn.ModuleDict({"reward": Home()})

    def imagine(self, latents, policy, *, horizon):
        """Act for ``horizon`` steps."""
        latent, found, taken = latents[:, -1], [], []
        for _ in range(horizon):
            taken.append(policy(latent))
            latent = latent + 0.5 * (taken[-1] @ self.moves.to(latent)).unsqueeze(1)
            found.append(latent)
        future = torch.stack(found, dim=1)
        return Imagined(future, torch.stack(taken, dim=1), {"reward": self.heads["reward"](future)})


def starts(rows, seed=0):
    """Return latents spread over the square from -2 to 2."""
    return 4 * torch.rand(rows, 1, 2, generator=torch.Generator().manual_seed(seed)) - 2
