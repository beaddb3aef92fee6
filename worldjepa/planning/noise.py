"""Random numbers for planners: a stream of its own for each row, and noise that is smooth in time."""

from __future__ import annotations

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

Generators = torch.Generator | list[torch.Generator] | None


def row_generators(generator: Generators, batch: int) -> list[torch.Generator]:
    """Return a generator for each row, so that a row's plan does not depend on which rows it is planned with.

    Of one generator (None: torch's global one), row ``i`` gets the i-th seed that it draws, however many rows
    there are; a list gives each row its own. Raises ``ValueError`` if the list has another length.
    """
    if isinstance(generator, list):
        if len(generator) != batch:
            raise ValueError(f"expected one generator, or one for each of {batch} rows, got {len(generator)}")
        return generator
    device = "cpu" if generator is None else generator.device
    seeds = torch.randint(2**63 - 1, (batch,), generator=generator, device=device)
    return [torch.Generator().manual_seed(seed) for seed in seeds.tolist()]


class Streams:
    """One random stream a row; what is drawn has the dtype and device of ``like``."""

    def __init__(self, generator: Generators, like: Float[Tensor, "b ..."]):
        self._like, self._rows = like, row_generators(generator, len(like))

    def normal(self, *shape: int) -> Float[Tensor, "b ..."]:
        """Draw standard normal numbers, ``shape`` of them for each row."""
        drawn = [torch.randn(shape, generator=row, device=row.device) for row in self._rows]
        return torch.stack(drawn).to(self._like)

    def uniform(self, *shape: int) -> Float[Tensor, "b ..."]:
        """Draw numbers in [0, 1), ``shape`` of them for each row."""
        drawn = [torch.rand(shape, generator=row, device=row.device) for row in self._rows]
        return torch.stack(drawn).to(self._like)


def coloured(
    white: Float[Tensor, "b s l a"], exponent: float, action_block: int = 1
) -> Float[Tensor, "b s l a"]:
    """Turn white noise into noise whose power at frequency f falls as ``f ** -exponent``, of unit variance.

    Time runs over environment steps: over the ``action_block`` actions of a block, then over the blocks. As
    in iCEM (Pinneri et al., arXiv:2008.06389, section 3.1; Timmer and Koenig 1995), a plan is one period.
    """
    if exponent == 0:
        return white
    x = rearrange(white, "b s l (k a) -> b s a (l k)", k=action_block)
    steps = x.shape[-1]
    frequency = torch.fft.rfftfreq(steps, device=x.device).clamp_min(
        1 / steps
    )  # the mean as the slowest wave
    scale = frequency ** (-exponent / 2)
    twice = torch.full_like(scale, 2.0)  # every wave but the mean, and the fastest of an even number of steps
    twice[0] = 1
    if steps % 2 == 0:
        twice[-1] = 1
    scale = scale / ((twice * scale.square()).sum() / steps).sqrt()
    x = torch.fft.irfft(torch.fft.rfft(x.float(), dim=-1) * scale, n=steps, dim=-1)
    return rearrange(x, "b s a (l k) -> b s l (k a)", k=action_block).to(white.dtype)
