import math

import pytest
import torch
from torch.nn.functional import layer_norm

from worldjepa.training.health import (
    Gauges,
    effective_rank,
    mean_cosine,
    measure,
    nearest_visible,
    spread_over_clips,
)
from worldjepa.types import Grid, Masks

GRID = Grid(4, 3, 3)
WIDTH = 32


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def l1(prediction, target):
    return (prediction - target).abs()


def some_masks(b, hidden=(1, 4, 5)):
    """Hide the same places in every latent step (tubes), the others are context."""
    target = [t * GRID.p + place for t in range(GRID.t) for place in hidden]
    context = sorted(set(range(GRID.n)) - set(target))
    return Masks(torch.tensor([context] * b), torch.tensor([target] * b))


def gauges(raw, prediction=None):
    targets = layer_norm(raw, raw.shape[-1:])
    masks = some_masks(len(raw))
    if prediction is None:
        prediction = targets[:, masks.target[0]] + 0.01
    return measure(raw, targets, [prediction], [masks], GRID, l1)


# --- the parts against slow references ---


def test_effective_rank_of_known_spectra():
    orthogonal = torch.linalg.qr(normal(20, 8))[0]
    assert effective_rank(orthogonal) == pytest.approx(8)
    assert effective_rank(orthogonal.T) == pytest.approx(8)
    assert effective_rank(torch.ones(10, 6)) == pytest.approx(1, abs=1e-5)
    assert effective_rank(torch.zeros(10, 6)) == 1.0
    # singular values 3 and 1: shares 3/4 and 1/4
    expected = math.exp(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)))
    assert effective_rank(orthogonal[:, :2] * torch.tensor([3.0, 1.0])) == pytest.approx(expected, rel=1e-6)
    assert math.isnan(effective_rank(torch.tensor([[1.0, math.nan]])))


@pytest.mark.parametrize("shape", [(50, 12), (12, 50)])
def test_effective_rank_equals_the_paper_through_an_svd(shape):
    rows = normal(*shape) * torch.linspace(0.01, 2, shape[1]) + 0.5
    singular = torch.linalg.svdvals(rows.double())
    share = singular / singular.sum()
    assert effective_rank(rows) == pytest.approx(math.exp(-(share * share.log()).sum()), rel=1e-6)


def test_cosine_and_spread_equal_loops():
    latents = normal(5, 7, 4) + 1
    pooled = latents.mean(1)
    pairs = [
        torch.cosine_similarity(pooled[i], pooled[j], dim=0) for i in range(5) for j in range(5) if i != j
    ]
    assert mean_cosine(pooled) == pytest.approx(torch.stack(pairs).mean().item(), abs=1e-6)
    assert mean_cosine(torch.zeros(3, 4)) == 1.0
    expected = [math.sqrt(sum(latents[:, place, k].var().item() for place in range(7)) / 7) for k in range(4)]
    assert spread_over_clips(latents).tolist() == pytest.approx(expected, rel=1e-5)


def test_nearest_visible_equals_a_loop_over_the_grid():
    generator = torch.Generator().manual_seed(1)
    orders = [torch.randperm(GRID.n, generator=generator) for _ in range(3)]
    context = torch.stack([order[:10].sort().values for order in orders])
    target = torch.stack([order[10:].sort().values for order in orders])
    found = nearest_visible(Masks(context, target), GRID)
    place = lambda i: (i // GRID.p, i // GRID.w % GRID.h, i % GRID.w)  # noqa: E731
    for row in range(3):
        for got, hidden in zip(found[row].tolist(), target[row].tolist(), strict=True):
            near = min(context[row].tolist(), key=lambda i: (math.dist(place(i), place(hidden)), i))
            assert got == near


def test_trivial_predictors_by_hand():
    grid = Grid(1, 1, 4)
    targets = torch.tensor([[[0.0], [1.0], [5.0], [6.0]], [[2.0], [2.0], [4.0], [4.0]]])
    masks = Masks(torch.tensor([[0, 3]] * 2), torch.tensor([[1, 2]] * 2))
    prediction = torch.tensor([[[1.5], [5.0]], [[2.0], [4.0]]])
    seen = measure(targets, targets, [prediction], [masks], grid, l1)
    assert seen.predictor == pytest.approx(0.5 / 4)
    assert seen.copy_nearest == pytest.approx((1 + 1 + 0 + 0) / 4)  # tokens 0 and 3 copied to 1 and 2
    assert seen.mean_latent == pytest.approx((2 + 2 + 1 + 1) / 4)  # the mean of all is 3
    assert seen.raw_scale == pytest.approx(math.sqrt(102 / 8))
    # over the two clips: variances 2, 1/2, 1/2, 2
    assert seen.raw_std == pytest.approx(math.sqrt(5 / 4))
    assert seen.std == pytest.approx(math.sqrt(5 / 4) / math.sqrt(102 / 8))


def test_several_mask_settings_are_averaged():
    targets = normal(2, GRID.n, WIDTH)
    many, few = some_masks(2), some_masks(2, hidden=(0,))
    off = [targets[:, many.target[0]] + 1, targets[:, few.target[0]] + 2]
    assert measure(targets, targets, off, [many, few], GRID, l1).predictor == pytest.approx(1.5, rel=1e-5)


# --- what the gauges show of healthy and collapsed latents ---


def test_healthy_latents():
    seen = gauges(normal(8, GRID.n, WIDTH))
    assert isinstance(seen, Gauges)
    assert 0.8 < seen.std < 1.05
    assert seen.effective_rank > 28
    assert abs(seen.cosine) < 0.1
    assert seen.predictor == pytest.approx(0.01, rel=1e-3)
    assert seen.copy_nearest > 1
    assert seen.mean_latent > 0.7


def test_a_point_a_line_and_places_without_content():
    point = normal(1, 1, WIDTH) + 1e-3 * normal(8, GRID.n, WIDTH, seed=1)
    seen = gauges(point)
    assert seen.std < 0.002
    assert seen.cosine > 0.9999
    assert seen.effective_rank < 1.2

    line = normal(8, GRID.n, 1) * normal(1, 1, WIDTH, seed=1) + normal(1, 1, WIDTH, seed=2)
    seen = gauges(line + 1e-3 * normal(8, GRID.n, WIDTH, seed=3))
    assert seen.std > 0.3
    assert seen.effective_rank < 3

    places = normal(1, GRID.n, WIDTH) + 1e-3 * normal(8, GRID.n, WIDTH, seed=1)
    seen = gauges(places)
    assert seen.effective_rank > 20  # rank alone does not see it
    assert seen.std < 0.002
    assert seen.cosine > 0.9999


def test_a_shrunken_scale_shows_before_the_norm_only():
    plain, small = gauges(normal(8, GRID.n, WIDTH)), gauges(0.05 * normal(8, GRID.n, WIDTH))
    assert small.std == pytest.approx(plain.std, rel=1e-2)
    assert small.raw_scale == pytest.approx(0.05 * plain.raw_scale, rel=1e-5)
    assert small.raw_std == pytest.approx(0.05 * plain.raw_std, rel=1e-5)


def test_many_tokens_are_thinned_out_and_measured_the_same_each_time():
    raw = normal(64, GRID.n * 4, 16) * torch.linspace(0.1, 1, 16)
    grid = Grid(16, 3, 3)
    masks = Masks(torch.arange(100).repeat(64, 1), torch.arange(100, 144).repeat(64, 1))
    looks = [measure(raw, raw, [raw[:, 100:]], [masks], grid, l1).effective_rank for _ in range(2)]
    assert looks[0] == looks[1]
    assert looks[0] == pytest.approx(effective_rank(raw.flatten(0, 1)), rel=0.01)


def test_one_clip_or_another_grid_is_refused():
    with pytest.raises(ValueError, match="need 2 clips or more of 36 tokens"):
        gauges(normal(1, GRID.n, WIDTH), torch.zeros(1, 12, WIDTH))
    with pytest.raises(ValueError, match=r"got latents \(2, 5, 32\)"):
        gauges(normal(2, 5, WIDTH), torch.zeros(2, 12, WIDTH))
