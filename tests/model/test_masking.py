"""Masking strategies: what is hidden, equal counts, no bias towards any place or time."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from worldjepa.model import masking
from worldjepa.model.masking import STRATEGIES, build_strategy, draw_masks
from worldjepa.types import Grid

GRID = Grid(4, 6, 5)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from(sorted(STRATEGIES)),
    t=st.integers(2, 6),
    h=st.integers(2, 7),
    w=st.integers(2, 7),
    rows=st.integers(1, 5),
    seed=st.integers(0, 2**31),
)
def test_masks_are_valid_for_any_grid(name, t, h, w, rows, seed):
    grid = Grid(t, h, w)
    masks = STRATEGIES[name](grid, rows, generator(seed))
    assert masks.context.shape[0] == masks.target.shape[0] == rows
    assert masks.context.shape[1] > 0 and masks.target.shape[1] > 0
    for context, target in zip(masks.context, masks.target, strict=True):
        assert (context.diff() > 0).all() and (target.diff() > 0).all()  # sorted, no doubles
        assert not set(context.tolist()) & set(target.tolist())
        assert int(min(context[0], target[0])) >= 0 and int(max(context[-1], target[-1])) < grid.n


def test_multi_block_hides_whole_tubes():
    masks = masking.multi_block(
        GRID, 1, generator(), num_blocks=2, spatial_scale=(0.2, 0.2), aspect=(1.0, 1.0)
    )
    places = [sorted(i % GRID.p for i in masks.target[0].tolist() if i // GRID.p == t) for t in range(GRID.t)]
    assert all(step == places[0] for step in places)
    assert sorted(masks.context[0].tolist() + masks.target[0].tolist()) == list(range(GRID.n))
    assert 4 <= len(places[0]) <= 12  # two blocks of 0.2 * 30 = 6 places: 2 x 2 to 2 x 3 each


def test_random_tube_hides_the_same_places_in_every_step():
    masks = masking.random_tube(GRID, 3, generator(), ratio=0.5)
    assert masks.target.shape == (3, GRID.t * 15)
    assert ((masks.target % GRID.p).reshape(3, GRID.t, 15).diff(dim=1) == 0).all()


def test_future_and_random_frames_take_whole_steps():
    masks = masking.future(GRID, 2, generator(), context_share=0.25)
    assert masks.context[1].tolist() == list(range(GRID.p))
    assert masks.target[1].tolist() == list(range(GRID.p, GRID.n))
    frames = masking.random_frames(GRID, 2, generator(), ratio=0.5)
    assert [len(set((row // GRID.p).tolist())) for row in frames.target] == [2, 2]
    assert frames.target.shape[1] == 2 * GRID.p


def test_causal_multi_block_sees_only_the_first_steps():
    masks = masking.causal_multi_block(GRID, 8, generator(), num_blocks=3, context_share=0.5)
    assert int((masks.context // GRID.p).max()) <= 1
    assert int((masks.target // GRID.p).max()) == GRID.t - 1


def test_block_hides_the_same_places_of_every_latent_step():
    image, clip = (masking.block(Grid(t, 14, 14), 4, generator()) for t in (1, 3))
    for one, three in ((image.context, clip.context), (image.target, clip.target)):
        assert torch.equal(three, torch.cat([one, one + 196, one + 2 * 196], dim=1))


def test_block_context_is_less_the_targets():
    masks = masking.block(Grid(1, 14, 14), 4, generator())
    target = [set(row.tolist()) for row in masks.target]
    assert all(not set(row.tolist()) & hidden for row, hidden in zip(masks.context, target, strict=True))
    assert all(25 <= len(hidden) <= 4 * 42 for hidden in target)


def test_surplus_tokens_are_dropped_without_a_bias_in_time():
    """Every latent step loses the same share of tokens, over many draws."""
    counts = torch.zeros(GRID.t)
    for seed in range(200):
        masks = masking.random_frames(Grid(4, 2, 2), 2, generator(seed))
        assert masks.context.shape[1] == 8
        both = masking.multi_block(GRID, 8, generator(seed), num_blocks=4, temporal_scale=(0.5, 0.5))
        counts += torch.bincount(both.context.flatten() // GRID.p, minlength=GRID.t)
    ends, middle = counts[[0, 3]].mean(), counts[[1, 2]].mean()
    assert abs(float(counts[0] / counts[3]) - 1) < 0.05
    assert ends > middle  # blocks of half the time cover the middle more often; the first and last alike


def test_masks_are_a_function_of_seed_and_step():
    strategies = (build_strategy({"strategy": "multi_block"}), build_strategy({"strategy": "future"}))
    one, same = (
        draw_masks(strategies, GRID, 4, seed=1, step=7),
        draw_masks(strategies, GRID, 4, seed=1, step=7),
    )
    other = draw_masks(strategies, GRID, 4, seed=1, step=8)
    assert len(one) == 2 and torch.equal(one[0].target, same[0].target)
    assert one[0].target.shape != other[0].target.shape or not torch.equal(one[0].target, other[0].target)


def test_one_step_clips_are_refused_by_temporal_strategies():
    with pytest.raises(ValueError, match="needs at least 2 latent steps"):
        masking.future(Grid(1, 4, 4), 1, generator())


def own_strategy(grid, batch_size, generator, *, keep):
    ids = torch.arange(grid.n).expand(batch_size, -1)
    return masking.Masks(ids[:, :keep], ids[:, keep:])


def test_a_users_own_function_plugs_in():
    strategy = build_strategy({"_target_": f"{__name__}.own_strategy", "keep": 3})
    assert strategy(GRID, 2, generator()).context.tolist() == [[0, 1, 2]] * 2
