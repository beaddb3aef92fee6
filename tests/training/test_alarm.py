import json
from dataclasses import replace

import pytest
import torch

from worldjepa.training.alarm import CollapseAlarm, HealthHint, HealthMonitor, Watch, judge
from worldjepa.training.health import Gauges, measure
from worldjepa.types import Grid, Masks

HEALTHY = Gauges(
    std=0.39,
    std_lowest=0.2,
    raw_std=0.39,
    raw_scale=1.0,
    effective_rank=41.0,
    cosine=0.98,
    predictor=0.2,
    copy_nearest=0.3,
    mean_latent=0.35,
)
POINT = replace(HEALTHY, std=0.01, cosine=0.9999, effective_rank=2.5)
LINE = replace(HEALTHY, effective_rank=2.4)
SHRUNK = replace(HEALTHY, raw_scale=0.005, raw_std=0.002)


def run(looks, total=None):
    """Return what was said at which look, of a run whose last look is at its end (or at ``total``)."""
    watch, said = Watch(), []
    for number, gauges in enumerate(looks, start=1):
        watch, word = judge(watch, gauges, number / (total or len(looks)))
        if word is not None:
            said.append((number, word))
    return said


def kinds(looks, total=None):
    return [(number, getattr(word, "kind", "hint")) for number, word in run(looks, total)]


def test_a_healthy_run_raises_nothing():
    assert kinds([HEALTHY] * 50) == []
    slowly = [replace(HEALTHY, std=0.3 + 0.01 * i, effective_rank=20 + i) for i in range(30)]
    assert kinds(slowly) == []


@pytest.mark.parametrize(("gauges", "kind"), [(POINT, "point"), (LINE, "rank"), (SHRUNK, "scale")])
def test_collapse_is_raised_once_after_three_looks(gauges, kind):
    assert kinds([HEALTHY] * 4 + [gauges] * 20) == [(7, kind)]
    assert kinds([HEALTHY] * 4 + [gauges] * 2 + [HEALTHY] + [gauges] * 2 + [HEALTHY] * 5) == []


def test_a_world_of_few_degrees_of_freedom_may_have_a_low_rank():
    watch, word = Watch(), None
    for gauges in [HEALTHY] * 2 + [replace(HEALTHY, effective_rank=4.8)] * 5 + [LINE] * 5:
        watch, word = judge(watch, gauges, 0.9, world=True)
        assert word is None
    for _ in range(3):
        watch, word = judge(watch, replace(HEALTHY, effective_rank=1.4), 0.9, world=True)
    assert isinstance(word, CollapseAlarm) and word.kind == "rank"


def test_a_run_that_recovers_and_falls_again_is_told_twice():
    assert kinds([HEALTHY] * 2 + [POINT] * 5 + [HEALTHY] * 3 + [POINT] * 5) == [(5, "point"), (13, "point")]


def test_the_deep_early_dip_of_a_run_that_came_back_raises_nothing():
    # std, rank and cosine every 60 steps of a nano run with lr 1e-3, EMA 0.996; it ended at cosine 0.41
    std = [0.386, 0.33, 0.27, 0.18, 0.12, 0.081, 0.139, 0.161, 0.145, 0.229, 0.503, 0.706, 0.764]
    rank = [41.0, 37.0, 31.0, 19.0, 9.4, 8.1, 7.9, 7.7, 7.0, 8.7, 14.2, 15.7, 13.7]
    cosine = [0.988, 0.995, 0.998, 0.999, 0.9993, 0.9998, 0.9994, 0.9991, 0.998, 0.977, 0.775, 0.52, 0.41]
    looks = [
        replace(HEALTHY, std=s, effective_rank=r, cosine=c) for s, r, c in zip(std, rank, cosine, strict=True)
    ]
    assert kinds(looks) == []


def test_the_fall_of_a_run_without_stop_gradient_is_seen_within_three_looks_of_the_floor():
    # std and rank every 20 steps of the same model when gradients flow into the target
    std = [0.386, 0.140, 0.0272, 0.0113, 0.0081, 0.0066, 0.0057]
    rank = [41.0, 15.4, 4.06, 2.61, 2.26, 2.06, 1.94]
    looks = [replace(HEALTHY, std=s, effective_rank=r) for s, r in zip(std, rank, strict=True)]
    ((number, alarm),) = run(looks, total=30)
    assert number == 5
    assert isinstance(alarm, CollapseAlarm)
    assert "standard deviation over clips is 0.0081 (best so far 0.386)" in alarm.seen
    assert "effective rank 2.3" in alarm.seen
    for remedy in ("optim.lr", "optim.ema", "objective.weights.variance", "sigreg"):
        assert remedy in alarm.advice


def test_an_encoder_that_starts_flat_gets_half_the_run():
    flat = replace(HEALTHY, std=0.02, effective_rank=3.0)
    assert kinds([flat] * 20) == [(12, "point")]  # progress 0.5 at the tenth
    assert kinds([flat] * 9 + [HEALTHY] * 11) == []


def test_few_rows_alone_are_no_collapse():
    assert kinds([replace(HEALTHY, effective_rank=2.0)] * 20) == []


def test_a_useless_predictor_is_a_hint_and_only_late():
    useless = replace(HEALTHY, predictor=0.4)
    ((number, hint),) = run([useless] * 20)
    assert number == 12
    assert isinstance(hint, HealthHint)
    assert "(0.4000) is no better than copying the nearest visible token (0.3000)" in hint.seen
    assert kinds([useless] * 9 + [HEALTHY] * 11) == []


def test_figures_that_are_not_numbers_raise_nothing():
    nan = float("nan")
    broken = Gauges(*[nan] * 9)
    assert kinds([HEALTHY] * 3 + [broken] * 10 + [HEALTHY] * 3) == []
    assert kinds([broken] * 3 + [HEALTHY] * 3 + [POINT] * 4) == [(9, "point")]
    assert kinds([broken] * 3 + [HEALTHY] * 3 + [SHRUNK] * 4) == [(9, "scale")]


def test_the_monitor_resumes_from_json_in_the_middle_of_its_patience():
    straight = HealthMonitor(100)
    looks = [HEALTHY] * 3 + [POINT] * 4
    said = [straight.look(step, gauges) for step, gauges in enumerate(looks)]
    assert [word is not None for word in said] == [False] * 5 + [True, False]

    first, second = HealthMonitor(100), HealthMonitor(100)
    for step in range(4):
        first.look(step, looks[step])
    second.restore(json.loads(json.dumps(first.state())))
    again = [second.look(step, looks[step]) for step in range(4, 7)]
    assert again == said[4:]


def test_the_monitor_keeps_hints_apart_from_alarms():
    monitor = HealthMonitor(10)
    useless = replace(HEALTHY, predictor=0.4)
    hints = []
    for step in range(1, 11):
        assert monitor.look(step, useless) is None
        hints.append(monitor.hint is not None)
    assert hints == [False] * 6 + [True] + [False] * 3


def test_end_to_end_on_latents_that_shrink_to_a_point():
    grid, generator = Grid(2, 3, 3), torch.Generator().manual_seed(0)
    masks = Masks(torch.arange(9).repeat(6, 1), torch.arange(9, 18).repeat(6, 1))
    common = torch.randn(1, 1, 32, generator=generator)
    watch, said = Watch(), []
    for look in range(12):
        content = torch.randn(6, grid.n, 32, generator=generator) * 0.5**look
        raw = common + content
        targets = torch.nn.functional.layer_norm(raw, (32,))
        gauges = measure(raw, targets, [targets[:, 9:]], [masks], grid, lambda p, t: (p - t).abs())
        watch, word = judge(watch, gauges, look / 100)
        said += [(look, word.kind)] if isinstance(word, CollapseAlarm) else []
    # the rank falls before the last of the content does
    assert [kind for _, kind in said] == ["rank", "point"]
    assert all(5 <= look <= 9 for look, _ in said)
