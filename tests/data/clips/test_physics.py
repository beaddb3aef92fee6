"""Clips that break physics: equal twins until the break, and what happens then."""

import numpy as np
import pytest

from worldjepa.data.clips.physics import FADE, KINDS, draw_twins
from worldjepa.data.clips.scenes import (
    MOTIONS,
    NOISE_CELLS,
    CorpusSettings,
    draw_scene,
    paint,
    render,
)

SETTINGS = CorpusSettings()


@pytest.mark.parametrize("kind", KINDS)
def test_twins_are_equal_until_the_break_and_change_bit_by_bit(kind: str):
    for number in range(3):
        twins = draw_twins(kind, SETTINGS, number)
        same = (twins.possible == twins.impossible).all(axis=(1, 2, 3))
        assert same[: twins.at].all() and not same[twins.at :].any()
        assert 8 <= twins.at <= 10  # about the middle of 18 frames
        apart = np.abs(twins.possible.astype(float) - twins.impossible).mean(axis=(1, 2, 3))
        rise = apart[twins.at : twins.at + FADE] / apart[twins.at + FADE - 1]
        np.testing.assert_allclose(rise, (np.arange(FADE) + 1) / FADE, atol=0.2)


def test_a_pair_is_a_function_of_its_number():
    one, again, other = (draw_twins("vanish", SETTINGS, number) for number in (3, 3, 4))
    assert np.array_equal(one.impossible, again.impossible) and one.at == again.at
    assert not np.array_equal(one.possible, other.possible)
    with pytest.raises(ValueError, match="kind='fly': expected one of vanish, teleport, wall"):
        draw_twins("fly", SETTINGS, 0)


def changed(twins):
    """Return which pixels of the last frame differ clearly."""
    return np.abs(twins.possible[-1].astype(int) - twins.impossible[-1]).max(axis=-1) > 12


def test_what_vanishes_is_gone_and_what_teleports_is_elsewhere():
    for number in range(4):
        gone, moved = (draw_twins(kind, SETTINGS, number) for kind in ("vanish", "teleport"))
        assert 0.002 < changed(gone).mean() < 0.25  # one shape, as far as it is still in the picture
        ys, xs = np.nonzero(changed(moved))
        assert max(np.ptp(ys), np.ptp(xs)) > 0.2 * SETTINGS.size  # where it would be and where it is


def test_the_wall_stands_in_both_and_the_shape_is_behind_it_at_once():
    for number in range(4):
        twins = draw_twins("wall", SETTINGS, number)
        stripes = (np.abs(twins.possible[0].astype(int) - 128) > 110).all(axis=-1)  # black or white
        rows, columns = stripes.mean(axis=1), stripes.mean(axis=0)
        assert max(rows.max(), columns.max()) > 0.5
        assert changed(twins).any()


def test_drawing_and_painting_apart_is_rendering():
    for motion in MOTIONS:
        frames, truth = render(motion, SETTINGS, np.random.default_rng(5))
        apart, same = paint(draw_scene(motion, SETTINGS, np.random.default_rng(5)))
        assert np.array_equal(frames, apart) and np.array_equal(truth.boxes, same.boxes)


def test_the_pictures_of_the_corpus_are_what_they_were():
    """Whoever changes them has to raise ``corpus.VERSION``: caches of users hold the old ones."""
    small = CorpusSettings(frames=6, size=32)
    sums = [int(render(m, small, np.random.default_rng((0, 1, i)))[0].sum()) for i, m in enumerate(MOTIONS)]
    recorded = [2493335, 2284354, 2362394, 2433564, 1940300, 2130135, 2268693, 2333878]
    np.testing.assert_allclose(sums, recorded, atol=40)  # rounding may differ by machine


def test_noise_is_new_in_every_frame_and_changes_nothing_else():
    clean = draw_scene("still", SETTINGS, np.random.default_rng(1))
    noisy = draw_scene("still", CorpusSettings(noise=0.4), np.random.default_rng(1))
    for one, other in zip(clean.movers, noisy.movers, strict=True):
        assert one.shape == other.shape and np.array_equal(one.track.centre, other.track.centre)
    added = (noisy.planes - clean.planes).std(axis=(0, 1))  # over colours and frames
    touched = added.reshape(NOISE_CELLS, 8, NOISE_CELLS, 8).max(axis=(1, 3)) > 0.02
    assert touched.mean() == pytest.approx(0.4)
    steps = np.diff(noisy.planes - clean.planes, axis=1).std(axis=(0, 1))
    assert steps[added > 0.05].mean() > 1.2 * added[added > 0.05].mean()  # sqrt(2), were it not for the edges
