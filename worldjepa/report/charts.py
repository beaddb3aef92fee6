"""Line charts as SVG that takes its colours from the page, so that it suits light and dark."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from worldjepa.report.elements import Html, element, join

Points = Sequence[tuple[float, float | None]]  # None: no number was measured there

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 360, 200, 52, 20, 8, 34
BUCKETS = 240  # more points than this on a line are drawn as the least and the greatest of each bucket
LOG_RANGE = 30.0  # values that span more than this factor, none below zero, stand on a logarithmic scale
COLOURS = 6


def line_chart(title: str, lines: Mapping[str, Points], across: str, text: str = "") -> Html:
    """Draw named lines over one axis of whole numbers; the legend says where each ends.

    Lines without a single number are left out; an empty text is returned if none has one.
    """
    lines = {name: points for name, points in lines.items() if _finite(points)}
    if not lines:
        return Html()
    assert len(lines) <= COLOURS, "more lines than colours: draw several charts"
    every = [point for points in lines.values() for point in _finite(points)]
    scale = _Scale.around(every)
    parts = [_axes(scale, across)]
    for index, points in enumerate(lines.values()):
        parts += _drawn(points, scale, f"line c{index}")
    chart = element(
        "svg", *parts, viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label=_told(title, lines)
    )
    caption = [element("figcaption", text)] if text else []
    return element("figure", element("h3", title), chart, _legend(lines), *caption, class_="chart")


def short(value: float) -> str:
    """Return a number as a reader wants it: three digits, large ones whole."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


class _Scale:
    """Where a point of the data stands in the drawing."""

    def __init__(self, left: float, right: float, low: float, high: float, log: bool):
        self.left, self.right, self.log = left, right if right > left else left + 1, log
        self.ticks = _log_ticks(low, high) if log else _ticks(low, high)
        self.low, self.high = self.ticks[0], self.ticks[-1]
        if log:
            self.low, self.high = min(self.low, low), max(self.high, high)

    @classmethod
    def around(cls, points: list[tuple[float, float]]) -> _Scale:
        """Return a scale that holds all points."""
        xs, ys = zip(*points, strict=True)
        low, high = min(ys), max(ys)
        return cls(min(xs), max(xs), low, high, low > 0 and high / low > LOG_RANGE)

    def x(self, value: float) -> float:
        share = (value - self.left) / (self.right - self.left)
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)

    def y(self, value: float) -> float:
        low, high = self.low, self.high
        if self.log:
            value, low, high = (math.log(number) for number in (value, low, high))
        return round(HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - TOP - BOTTOM), 1)


def _finite(points: Points) -> list[tuple[float, float]]:
    return [(x, y) for x, y in points if y is not None and math.isfinite(y) and math.isfinite(x)]


def _ticks(low: float, high: float, *, whole: bool = False) -> list[float]:
    """Return three to six round numbers that span an interval, ``whole`` ones if asked for."""
    rough = (high - low) / 4 or abs(high) / 4 or 1.0
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * factor for factor in (1, 2, 2.5, 5, 10) if unit * factor >= rough * 0.999)
    if whole:
        step = max(1.0, math.ceil(step))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(step * number, 12) for number in range(first, max(last, first + 1) + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    """Return powers of ten that span an interval, at most about six of them."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    return [10.0**power for power in range(first, last + 1, max(1, (last - first) // 5))]


def _axes(scale: _Scale, across: str) -> Html:
    parts = []
    for tick in scale.ticks:
        y = scale.y(tick)
        parts.append(element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="grid"))
        parts.append(element("text", _tick(tick), x=LEFT - 6, y=y + 4, class_="up"))
    below = HEIGHT - BOTTOM + 15
    within = [
        tick for tick in _ticks(scale.left, scale.right, whole=True) if scale.left <= tick <= scale.right
    ]
    for tick in within:
        parts.append(element("text", _tick(tick), x=scale.x(tick), y=below, class_="across"))
    parts.append(element("text", across, x=(LEFT + WIDTH - RIGHT) / 2, y=HEIGHT - 5, class_="across name"))
    return join(*parts)


def _tick(value: float) -> str:
    if value and (abs(value) < 1e-3 or abs(value) >= 1e6):
        return f"{value:.3g}".replace("e-0", "e-").replace("e+0", "e")
    return f"{value:,.10g}"


def _drawn(points: Points, scale: _Scale, style: str) -> list[Html]:
    """Return a line with gaps where nothing was measured; single points are dots."""
    found, part = [], []
    for x, y in [*points, (math.inf, None)]:
        if y is not None and math.isfinite(y) and math.isfinite(x):
            part.append((x, y))
        elif part:
            placed = [(scale.x(a), scale.y(b)) for a, b in _thinned(part)]
            if len(placed) == 1:
                found.append(element("circle", cx=placed[0][0], cy=placed[0][1], r=2.5, class_=style))
            else:
                found.append(
                    element("polyline", points=" ".join(f"{a},{b}" for a, b in placed), class_=style)
                )
            part = []
    return found


def _thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Keep the least and the greatest of each bucket, in order: spikes stay."""
    if len(points) <= BUCKETS:
        return points
    size = -(-len(points) // BUCKETS)
    kept = []
    for start in range(0, len(points), size):
        bucket = points[start : start + size]
        ends = {min(bucket, key=lambda point: point[1]), max(bucket, key=lambda point: point[1])}
        kept += sorted(ends)
    return kept


def _legend(lines: Mapping[str, Points]) -> Html:
    parts = []
    for index, (name, points) in enumerate(lines.items()):
        swatch = element("span", class_=f"swatch c{index}")
        parts.append(element("span", swatch, f"{name} ", element("b", short(_finite(points)[-1][1]))))
    return element("div", *parts, class_="legend")


def _told(title: str, lines: Mapping[str, Points]) -> str:
    ends = []
    for name, points in lines.items():
        values = [value for _, value in _finite(points)]
        ends.append(f"{name} from {short(values[0])} to {short(values[-1])}")
    return f"{title}: {'; '.join(ends)}"
