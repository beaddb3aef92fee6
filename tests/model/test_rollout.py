"""The contract of ``rollout``: cached equals recomputed, rows are alone, causal, differentiable."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tests.model.worlds import CONDITIONS, inputs, recompute, world

GRIDS = pytest.mark.parametrize("grid", [(1, 1), (4, 4)])


def each_candidate(model, latents, actions, past_actions, proprioception=None):
    """Return the slow reference of every candidate, each by itself."""
    rows = [
        recompute(model, latents, actions[:, index], past_actions, proprioception)
        for index in range(actions.shape[1])
    ]
    return torch.stack(rows, dim=1)


@GRIDS
@CONDITIONS
@pytest.mark.parametrize("window", [None, 1, 2, 4])
@pytest.mark.parametrize("t", [1, 3])
def test_cached_equals_recomputed_in_float64(grid, conditioning, window, t):
    model = world(grid=grid, conditioning=conditioning, window=window)
    latents, actions, past = inputs(model, t=t)
    expected = each_candidate(model, latents, actions, past)
    with torch.no_grad():
        in_place = model.rollout(latents, actions, past_actions=past)
    torch.testing.assert_close(in_place, expected, atol=1e-10, rtol=0)
    functional = model.rollout(latents, actions, past_actions=past)
    torch.testing.assert_close(functional.detach(), expected, atol=1e-10, rtol=0)
    alone = model.rollout(latents, actions[:, 1], past_actions=past)
    torch.testing.assert_close(alone, expected[:, 1], atol=1e-10, rtol=0)


@GRIDS
@CONDITIONS
@pytest.mark.parametrize("window", [None, 5])
@pytest.mark.parametrize(("dtype", "close"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
def test_cached_equals_recomputed_in_less_precision(grid, conditioning, window, dtype, close):
    model = world(grid=grid, conditioning=conditioning, window=window, depth=6, std=0.1, dtype=dtype)
    latents, actions, past = inputs(model, b=1, s=2, t=4, horizon=16)
    with torch.no_grad():
        future = model.rollout(latents, actions, past_actions=past)
    expected = each_candidate(model, latents, actions, past)
    assert (future - expected).abs().max() < close * expected.abs().max()


@CONDITIONS
@pytest.mark.parametrize("window", [None, 2])
def test_proprioception_is_used_where_measured(conditioning, window):
    model = world(conditioning=conditioning, window=window, proprioception_dim=3)
    latents, actions, past = inputs(model)
    measured = torch.randn(2, 3, 3, dtype=torch.float64)
    measured[0, 1] = torch.nan
    with torch.no_grad():
        future = model.rollout(latents, actions, past_actions=past, proprioception=measured)
        without = model.rollout(latents, actions, past_actions=past)
    expected = each_candidate(model, latents, actions, past, measured)
    torch.testing.assert_close(future, expected, atol=1e-10, rtol=0)
    assert (future - without).abs().max() > 1e-3


def test_past_actions_left_out_are_null_actions():
    model = world()
    latents, actions, past = inputs(model)
    future = model.rollout(latents, actions[:, 0])
    torch.testing.assert_close(future, recompute(model, latents, actions[:, 0]), atol=1e-10, rtol=0)
    assert (future - model.rollout(latents, actions[:, 0], past_actions=past)).abs().max() > 1e-3


@CONDITIONS
@pytest.mark.parametrize("window", [None, 3])
@pytest.mark.parametrize("rope", ["paired", "vjepa2"])
def test_each_row_with_lengths_equals_itself_alone(conditioning, window, rope):
    model = world(conditioning=conditioning, window=window, rope=rope)
    latents, actions, past = inputs(model, b=4, t=4)
    lengths = torch.tensor([1, 4, 2, 3])
    latents = latents.clone()
    latents[0, :3] = torch.nan  # what is not there may be anything
    future = model.rollout(latents, actions, past_actions=past, lengths=lengths)
    for row, n in enumerate(lengths.tolist()):
        one = slice(row, row + 1)
        alone = model.rollout(latents[one, 4 - n :], actions[one], past_actions=past[one, 4 - n :])
        torch.testing.assert_close(future[one], alone, atol=1e-10, rtol=0)


@GRIDS
@CONDITIONS
def test_candidates_and_rows_are_independent(grid, conditioning):
    model = world(grid=grid, conditioning=conditioning)
    latents, actions, past = inputs(model, b=3, s=4)
    future = model.rollout(latents, actions, past_actions=past)
    order = torch.tensor([2, 0, 3, 1])
    permuted = model.rollout(latents, actions[:, order], past_actions=past)
    torch.testing.assert_close(permuted, future[:, order], atol=1e-12, rtol=0)
    for row in range(3):
        one = slice(row, row + 1)
        alone = model.rollout(latents[one], actions[one], past_actions=past[one])
        torch.testing.assert_close(alone, future[one], atol=1e-12, rtol=0)


@GRIDS
@CONDITIONS
@pytest.mark.parametrize("window", [None, 2])
def test_an_action_changes_what_follows_it_and_nothing_before(grid, conditioning, window):
    model = world(grid=grid, conditioning=conditioning, window=window)
    latents, actions, past = inputs(model)
    with torch.no_grad():
        future = model.rollout(latents, actions, past_actions=past)
        for i in range(5):
            changed = actions.clone()
            changed[:, :, i] += 1
            other = model.rollout(latents, changed, past_actions=past)
            assert torch.equal(other[:, :, :i], future[:, :, :i])
            assert (other[:, :, i] - future[:, :, i]).abs().amax(dim=(-2, -1)).min() > 1e-4


@pytest.mark.parametrize("attention", ["step", "causal", "factorised"])
def test_a_later_frame_leaves_earlier_latents_alone(attention):
    model = world()
    model.encoder.attention = attention
    frames = torch.rand(1, 4, 3, 16, 16, dtype=torch.float64)
    latents = model.encode(frames)
    changed = frames.clone()
    changed[:, 2] = 1 - changed[:, 2]
    other = model.encode(changed)
    torch.testing.assert_close(other[:, :2], latents[:, :2], atol=1e-12, rtol=0)
    assert (other[:, 2] - latents[:, 2]).abs().max() > 1e-3


@CONDITIONS
@pytest.mark.parametrize("window", [None, 2])
def test_gradients_equal_finite_differences(conditioning, window):
    model = world(conditioning=conditioning, window=window, depth=2)
    latents, actions, past = inputs(model, b=1, s=2, t=2, horizon=3)
    weight = torch.randn(1, 2, 3, 4, 12, dtype=torch.float64)

    def score(latents, actions):
        return (model.rollout(latents, actions, past_actions=past) * weight).sum()

    leaves = latents.clone().requires_grad_(), actions.clone().requires_grad_()
    gradients = torch.autograd.grad(score(*leaves), leaves)
    for index, gradient in enumerate(gradients):
        for seed in range(3):
            direction = torch.randn(gradient.shape, generator=torch.Generator().manual_seed(seed)).double()
            ends = []
            for sign in (1, -1):
                moved = [latents, actions]
                moved[index] = moved[index] + sign * 1e-6 * direction
                ends.append(score(*moved).item())
            slope = (ends[0] - ends[1]) / 2e-6
            assert (gradient * direction).sum().item() == pytest.approx(slope, rel=1e-5, abs=1e-7)


def test_compiles_and_exports():
    model = world(dtype=torch.float32, depth=1)
    latents, actions, _ = inputs(model, b=1, s=2, t=2, horizon=2)
    exported = torch.export.export(Future(model), (latents, actions)).module()
    torch.testing.assert_close(exported(latents, actions), model.rollout(latents, actions), atol=1e-5, rtol=0)


class Future(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, latents, actions):
        return self.model.rollout(latents, actions)


class Sizes(TorchDispatchMode):
    """Records the shape of everything that is computed."""

    def __init__(self):
        super().__init__()
        self.shapes = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        self.shapes += [tuple(x.shape) for x in tree_leaves(out) if hasattr(x, "shape")]
        return out


@pytest.mark.parametrize("grad", [False, True])
def test_the_context_is_kept_once_whatever_the_candidates(grad):
    """No tensor holds the context's keys or values (13 steps, heads 12 wide) for each of 7 candidates."""
    model = world(grid=(1, 1))
    latents, actions, past = inputs(model, b=1, s=7, t=14, horizon=2)
    with Sizes() as seen, torch.set_grad_enabled(grad):
        model.rollout(latents, actions, past_actions=past)
    assert (2, 1, 13, 12) in seen.shapes
    copies = [
        shape for shape in seen.shapes if 13 in shape and 12 in shape and (7 in shape or 14 in shape[:-2])
    ]
    assert copies == []
