"""Cost functions with known optima for planners."""

import functools

import torch

from worldjepa.planning import cem, gradient, icem, mppi, random_shooting, refined_cem

A, HORIZON = 2, 3
BOUNDS = (torch.tensor([-1.0, -2.0]), torch.tensor([1.0, 3.0]))
# every planner of a box, with settings that suit the quadratic, and how near to the optimum it has to come
PLANNERS = {
    "cem": (cem, 0.02),
    "icem": (functools.partial(icem, iterations=10), 0.03),
    "icem shrinking": (functools.partial(icem, shrink=1.25, noise_exponent=0.5, iterations=10), 0.03),
    "mppi": (functools.partial(mppi, iterations=10), 0.02),
    "gradient": (gradient, 0.02),
    "refined_cem": (refined_cem, 0.01),
    "random_shooting": (functools.partial(random_shooting, num_samples=5000), 0.6),
}
SAMPLING = [name for name in PLANNERS if name not in ("gradient", "refined_cem")]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def optimum(b=2):
    """Return the optimum of ``quadratic`` for each row; a part of it lies outside the bounds."""
    shape = (b, HORIZON, A)
    rows = torch.arange(b * HORIZON * A, dtype=torch.float32).reshape(shape)
    return torch.sin(rows) * torch.tensor([0.9, 3.0])


def quadratic(b=2):
    """Return the cost ``sum of (action - optimum) squared``."""
    best = optimum(b)[:, None]
    return lambda actions: (actions - best).square().sum(dim=(-2, -1))


def two_basins(actions):
    """Cost 0 at 0.7 and 0.3 at -0.7 in every dimension, a hill of height 1 between."""
    x = actions[..., 0].mean(dim=-1)
    return torch.minimum((x - 0.7).square() / 0.49, (x + 0.7).square() / 0.49 + 0.3)
