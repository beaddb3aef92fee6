"""Coloured noise: its spectrum, its variance, in which direction time runs."""

import pytest
import torch

from worldjepa.planning.noise import Streams, coloured


@pytest.mark.parametrize("exponent", [0.5, 2.0, 4.0])
@pytest.mark.parametrize("steps", [2, 9, 16])
def test_the_power_falls_as_asked(exponent, steps):
    white = torch.randn(20_000, 1, steps, 1, generator=torch.Generator().manual_seed(0))
    x = coloured(white, exponent)[:, 0, :, 0]
    power = torch.fft.rfft(x, dim=-1).abs().square().mean(dim=0)
    frequency = torch.arange(1, len(power))
    torch.testing.assert_close(power[1:] / power[1], (1.0 * frequency) ** -exponent, rtol=0.06, atol=0)
    torch.testing.assert_close(power[0], power[1], rtol=0.06, atol=0)  # the mean counts as the slowest wave
    torch.testing.assert_close(x.var(dim=0), torch.ones(steps), rtol=0.06, atol=0)


def test_white_noise_and_a_single_step_stay_as_they_are():
    white = torch.randn(2, 3, 5, 4)
    assert torch.equal(coloured(white, 0.0), white)
    torch.testing.assert_close(coloured(white[:, :, :1], 2.0), white[:, :, :1])


def test_time_runs_over_the_actions_of_a_block():
    """Blocks of 2 actions of 3 numbers are the same noise as 8 plan steps of one action."""
    white = torch.randn(2, 5, 8, 3)
    blocks = white.reshape(2, 5, 4, 6)
    expected = coloured(white, 2.0)
    torch.testing.assert_close(coloured(blocks, 2.0, action_block=2).reshape(2, 5, 8, 3), expected)


def test_a_slow_reference():
    """The filter, written out as a sum of waves for one row."""
    n, exponent = 6, 1.5
    white = torch.randn(1, 1, n, 1)
    k = torch.arange(n)
    frequency = torch.minimum(k, n - k).clamp_min(1) / n
    scale = frequency ** (-exponent / 2)
    kernel = torch.stack([(scale * torch.cos(2 * torch.pi * k * m / n)).mean() for m in range(n)])
    kernel = kernel / kernel.square().sum().sqrt()
    mixed = torch.stack([(kernel[(i - k) % n] * white[0, 0, :, 0]).sum() for i in range(n)])
    torch.testing.assert_close(coloured(white, exponent)[0, 0, :, 0], mixed)


def test_streams_of_a_list_go_on_from_draw_to_draw():
    like = torch.zeros(2, 1)
    streams = Streams([torch.Generator().manual_seed(seed) for seed in (4, 5)], like)
    first, second = streams.normal(3), streams.uniform(2)
    for row, seed in enumerate((4, 5)):
        g = torch.Generator().manual_seed(seed)
        assert torch.equal(first[row], torch.randn(3, generator=g))
        assert torch.equal(second[row], torch.rand(2, generator=g))


def test_torchs_global_seed_counts_where_no_generator_is_given():
    def draw():
        torch.manual_seed(7)
        return Streams(None, torch.zeros(2, 1)).normal(3)

    assert torch.equal(draw(), draw())
