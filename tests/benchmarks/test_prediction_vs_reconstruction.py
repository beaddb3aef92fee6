"""The sums behind the table of prediction and reconstruction."""

from benchmarks.flops import flops_per_step
from benchmarks.prediction_vs_reconstruction import (
    METHODS,
    OTHERS_AT,
    SHARED,
    SWEPT,
    Run,
    cell,
    plan,
    summarise,
    table,
    verdict,
)


def score(linear):
    return {"linear": linear, "knn": linear / 2}


def found(trained):
    return {"trained": score(trained), "untrained": score(0.2), "pixels": score(0.1), "minutes": 1.0}


def test_the_first_seed_makes_a_whole_table_and_others_are_measured_once():
    runs = plan(dict.fromkeys(METHODS, 10), (0.0, 0.8), (0, 1), others=True)
    first = len(SWEPT) * 2 + len(METHODS) - len(SWEPT)
    assert len(runs) == len({run.name for run in runs}) == first + len(SWEPT) * 2
    assert {run.seed for run in runs[:first]} == {0}
    assert {(run.method, run.seed) for run in runs[first:]} == {(method, 1) for method in SWEPT}
    assert {run.share for run in runs if run.method not in SWEPT} == {OTHERS_AT}


def test_seeds_are_pooled_and_the_change_is_said_in_points():
    runs = {
        Run("V-JEPA", share, seed, 10): found(0.8 - share / 4 + 0.1 * seed)
        for share in (0, 0.8)
        for seed in (0, 1)
    }
    runs[Run("MAE", 0.0, 0, 20)] = found(0.3)
    cases = summarise(runs)
    assert list(cases["V-JEPA"]["0"]["linear"].values()) == [0.8, 0.9]
    assert cases["raw pixels"]["0.8"]["knn"] == {"0": 0.05, "1": 0.05}
    assert verdict(cases) == ["- V-JEPA: 85.0 at 0 % noise, 65.0 at 80 %: -20.0 points"]
    lines = table(cases, "linear", {"V-JEPA": 10, "MAE": 20}, {"V-JEPA": 2.0, "MAE": 1.0})
    assert "| V-JEPA | 85.0 (80.0-90.0) | 65.0 (60.0-70.0) | 2 | 10 | 2.0 |" in lines
    assert "| MAE | 30.0 |  | 1 | 20 | 1.0 |" in lines
    assert cell([0.5]) == "50.0"


def test_operations_of_a_step_are_those_of_its_matrix_products():
    """An encoder and a decoder without blocks: embedding, and two maps forward and twice backward."""
    words = [*SHARED, "objective=autoencoder", "model.encoder.depth=1", "model.masked_predictor.depth=1"]
    deeper = [*words, "model.encoder.depth=2"]
    tokens, dim = 32 * 4 * 16, 128
    maps, attention = 12 * dim * dim, 2 * 64 * dim  # weights of a block; scores and mixes of 64 tokens
    expected = 3 * 2 * tokens * (maps + attention)
    assert abs(flops_per_step(deeper) - flops_per_step(words) - expected) < 0.02 * expected
