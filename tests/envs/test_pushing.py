"""The policy that pushes PushT's block about: round the block, then through it, by its generator alone."""

import numpy as np

from worldjepa.envs.pushing import AROUND, LONGEST, Pushing


def test_a_push_goes_round_the_block_and_then_through_it():
    agent, block = np.array([380.0, 256.0]), np.array([256.0, 256.0])
    pushed = 0
    for seed in range(20):
        pushing, rng = Pushing(), np.random.default_rng(seed)
        at, distances = agent.copy(), []
        for _ in range(LONGEST):
            way = pushing.act(rng, at, block)
            assert np.abs(way).max() <= 100
            if pushing.leg.held is not None or pushing.leg.end is not None:
                break
            at = at + 0.4 * way
            distances.append(float(np.hypot(*(at - block))))
        if pushing.leg.held is None:
            assert pushing.leg.end is not None, f"seed {seed}: it never began to push"
            assert min(distances, default=AROUND) > 0.5 * AROUND  # it has not run into the block on the way
            assert (pushing.leg.end - at) @ (block - at) > 0  # the push leads past the block's centre
            pushed += 1
    assert pushed > 10


def test_what_is_done_follows_from_the_generator_by_as_many_draws_at_every_step():
    block = np.array([200.0, 300.0])
    one, other, rng, again = Pushing(), Pushing(), np.random.default_rng(3), np.random.default_rng(3)
    used = np.random.default_rng(3)
    for step in range(50):
        at = np.array([100.0 + 3 * step, 120.0])
        np.testing.assert_array_equal(one.act(rng, at, block), other.act(again, at, block))
        used.random((6, 6))
        used.standard_normal(3)
        assert used.bit_generator.state == rng.bit_generator.state
