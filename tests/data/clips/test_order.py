"""The sample order: permutations by epoch, exact shares of a mixture, a function of the number alone."""

import pickle
from collections import Counter

import pytest

from worldjepa.data.clips.order import SampleOrder


def test_every_epoch_is_a_permutation_of_its_own():
    order = SampleOrder([17], [1.0], seed=3)
    epochs = [[order.draw(17 * e + i) for i in range(17)] for e in range(3)]
    for number, epoch in enumerate(epochs):
        assert sorted(draw.file for draw in epoch) == list(range(17))
        assert {draw.epoch for draw in epoch} == {number}
    assert epochs[0] != epochs[1] != epochs[2]
    other = SampleOrder([17], [1.0], seed=4)
    assert [draw.file for draw in epochs[0]] != [other.draw(i).file for i in range(17)]


def test_a_draw_depends_on_its_number_alone():
    forward = SampleOrder([50, 7], [3.0, 1.0], seed=0)
    draws = [forward.draw(i) for i in range(3000)]
    fresh = pickle.loads(pickle.dumps(SampleOrder([50, 7], [3.0, 1.0], seed=0)))
    for number in (2999, 0, 1024, 1023, 2047, 5):
        assert fresh.draw(number) == draws[number]


@pytest.mark.parametrize("weights", [[1.0, 1.0], [3.0, 1.0], [0.001, 5.0, 2.0], [1.0] * 40])
def test_mixtures_keep_shares_and_pass_through_every_source(weights):
    sizes = [30 + 7 * k for k in range(len(weights))]
    order = SampleOrder(sizes, weights, seed=1)
    block = max(1024, len(weights) ** 2)
    draws = [order.draw(i) for i in range(3 * block)]
    for blocks in (1, 2, 3):
        counts = Counter(draw.source for draw in draws[: blocks * block])
        for source, weight in enumerate(weights):
            exact = weight / sum(weights) * blocks * block
            assert abs(counts[source] - exact) <= len(weights)
    for source, size in enumerate(sizes):
        mine = [draw for draw in draws if draw.source == source]
        for start in range(0, len(mine) - size, size):
            assert sorted(draw.file for draw in mine[start : start + size]) == list(range(size))
            assert {draw.epoch for draw in mine[start : start + size]} == {start // size}
    if len(weights) == 2:  # mixed within the block, not one after the other
        first = [draw.source for draw in draws[:64]]
        assert 1 < sum(first) < 63


def test_wrong_mixtures_are_refused():
    with pytest.raises(ValueError, match="positive numbers"):
        SampleOrder([3, 3], [1.0, 0.0], seed=0)
    with pytest.raises(ValueError, match="positive numbers"):
        SampleOrder([3], [float("nan")], seed=0)
    with pytest.raises(ValueError, match="at least one file"):
        SampleOrder([3, 0], [1.0, 1.0], seed=0)
    with pytest.raises(ValueError, match="one weight for each"):
        SampleOrder([3], [1.0, 1.0], seed=0)
