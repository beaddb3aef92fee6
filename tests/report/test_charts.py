"""Charts as SVG, their places worked out by hand."""

import math
import re

import pytest

from worldjepa.report.charts import BUCKETS, HEIGHT, LEFT, RIGHT, TOP, WIDTH, line_chart, short

FOOT = HEIGHT - 34
END = WIDTH - RIGHT


def drawn(chart: str) -> list[list[tuple[float, float]]]:
    lines = re.findall('<polyline points="([^"]*)"', chart)
    return [[tuple(map(float, point.split(","))) for point in line.split()] for line in lines]  # type: ignore[misc]


def test_a_line_goes_from_corner_to_corner():
    (line,) = drawn(line_chart("t", {"a": [(0, 0.0), (50, 0.5), (100, 1.0)]}, "step"))
    assert line == [(LEFT, FOOT), ((LEFT + END) / 2, (FOOT + TOP) / 2), (END, TOP)]


def test_values_over_decades_stand_on_a_logarithmic_scale():
    (line,) = drawn(line_chart("t", {"a": [(0, 0.01), (1, 0.1), (2, 1.0)]}, "step"))
    assert [y for _, y in line] == [FOOT, (FOOT + TOP) / 2, TOP]
    (line,) = drawn(line_chart("t", {"a": [(0, -0.01), (1, 1.0)]}, "step"))  # not with one below zero
    assert len(line) == 2


def test_what_was_not_finite_leaves_a_gap():
    points = [(0, 1.0), (1, 2.0), (2, None), (3, math.inf), (4, 1.0), (5, 2.0), (6, None), (7, 3.0)]
    chart = line_chart("t", {"a": points}, "step")
    assert [len(line) for line in drawn(chart)] == [2, 2]
    assert chart.count("<circle") == 1


def test_a_spike_among_many_points_stays():
    points = [(float(x), 1.0) for x in range(10 * BUCKETS)]
    points[1234] = (1234.0, 9.0)
    (line,) = drawn(line_chart("t", {"a": points}, "step"))
    assert len(line) <= 2 * BUCKETS
    assert min(y for _, y in line) == pytest.approx(TOP + (FOOT - TOP) / 10)  # 9 on an axis from 0 to 10


def test_ticks_are_round_and_steps_whole():
    chart = line_chart("t", {"a": [(1, 0.0), (10, 0.93)]}, "latent steps")
    assert re.findall('class="up">([^<]*)<', chart) == ["0", "0.25", "0.5", "0.75", "1"]
    assert re.findall('class="across">([^<]*)<', chart) == ["3", "6", "9"]


def test_the_legend_says_where_lines_end_and_names_are_escaped():
    chart = line_chart("<t>", {"<a>": [(0, 1.0), (1, 1234.5), (2, None)]}, "step")
    assert "&lt;a&gt; <b>1,234</b>" in chart and "<t>" not in chart and "<a>" not in chart


def test_nothing_to_draw_is_nothing():
    assert line_chart("t", {"a": [(0, None)], "b": []}, "step") == ""


def test_equal_values_have_a_scale():
    for value in (0.0, 5.0, -3.0, 1e-9, 1e12):
        (line,) = drawn(line_chart("t", {"a": [(3, value), (4, value)]}, "step"))
        assert all(TOP <= y <= FOOT for _, y in line)


def test_numbers_for_readers():
    assert [short(x) for x in (0.12345, 12.345, 1234.5, -2.0)] == ["0.123", "12.3", "1,234", "-2"]
