"""Curves and histograms as SVG geometry, readable without a script. Pure.

A chart's numbers go along as JSON, for the script that adds hover and zoom on top.
"""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from citemark_service.score.figures import figure

WIDTH: Final = 640
HEIGHT: Final = 180
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 8, 10, 22
_TICKS: Final = 4

Values = Sequence[float | None]


@dataclass(frozen=True, slots=True)
class Line:
    """One curve; a None leaves a gap."""

    label: str
    values: Values
    tone: int = 1
    """Which of the style sheet's tones, 1 to 4; each has its own dashes too."""


@dataclass(frozen=True, slots=True)
class Band:
    """The area between two curves."""

    label: str
    low: Values
    high: Values


@dataclass(frozen=True, slots=True)
class Tick:
    """A label on an axis, at a place along it."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Curve:
    """A line as drawn."""

    label: str
    tone: int
    path: str
    last: str
    """Its last value, in words."""


@dataclass(frozen=True, slots=True)
class Chart:
    """Curves over steps, ready to draw in a box of `WIDTH` by `HEIGHT`."""

    title: str
    curves: tuple[Curve, ...]
    area: str
    columns: tuple[Tick, ...]
    rows: tuple[Tick, ...]
    data: str
    """The same as JSON."""
    told: str
    """What it shows, for who cannot see it."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar of a histogram."""

    x: float
    y: float
    width: float
    height: float
    label: str


def chart(
    title: str,
    steps: Sequence[int],
    lines: Sequence[Line],
    *,
    band: Band | None = None,
    floor: float | None = None,
    ceiling: float | None = None,
) -> Chart:
    """Curves of equally many values as `steps`, within bounds that are widened where needed."""
    low, high = _bounds([*lines, *([band] if band else [])], floor, ceiling)
    across = _scale(min(steps, default=0), max(steps, default=1), _LEFT, WIDTH - _RIGHT)
    up = _scale(low, high, HEIGHT - _BOTTOM, _TOP)
    xs = [across(step) for step in steps]
    return Chart(
        title=title,
        curves=tuple(_curve(line, xs, up) for line in lines),
        area=_area(band, xs, up) if band else "",
        columns=tuple(Tick(across(step), str(step)) for step in _few(steps)),
        rows=tuple(Tick(up(value), figure(value, ".3g")) for value in _round_values(low, high)),
        data=_data(steps, lines, band, (low, high)),
        told=_told(title, steps, lines),
    )


def sparkline(values: Values, *, width: int = 120, height: int = 28) -> str:
    """A small curve without axes, as a path."""
    known = [value for value in values if value is not None]
    if len(known) < 2:
        return ""
    up = _scale(min(known), max(known), height - 2, 2)
    across = _scale(0, len(values) - 1, 2, width - 2)
    return _path([across(at) for at in range(len(values))], values, up)


def histogram(values: Sequence[float], low: float, high: float, *, bins: int = 24) -> list[Bar]:
    """Counts of `values` in equal bins from `low` to `high`, which hold them all."""
    counts = [0] * bins
    width = (high - low) / bins or 1.0
    for value in values:
        counts[max(0, min(bins - 1, int((value - low) / width)))] += 1
    most = max(counts, default=0) or 1
    step = (WIDTH - _LEFT - _RIGHT) / bins
    tall = HEIGHT - _TOP - _BOTTOM
    return [
        Bar(
            x=round(_LEFT + at * step + 1, 1),
            y=round(_TOP + tall * (1 - count / most), 1),
            width=round(step - 2, 1),
            height=round(tall * count / most, 1),
            label=f"{_edge(low + at * width)} to {_edge(low + (at + 1) * width)}: {count}",
        )
        for at, count in enumerate(counts)
    ]


def axis(low: float, high: float) -> list[Tick]:
    """Labels under a histogram."""
    across = _scale(low, high, _LEFT, WIDTH - _RIGHT)
    return [Tick(across(value), figure(value, ".3g")) for value in _round_values(low, high)]


def place(value: float, low: float, high: float) -> float:
    """Where a value stands along a histogram."""
    return _scale(low, high, _LEFT, WIDTH - _RIGHT)(value)


def _edge(value: float) -> str:
    return figure(value, ".2f")


class _scale:  # noqa: N801  a function with two numbers remembered
    """A straight map from one range to another."""

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        self._low, self._start = low, start
        self._slope = (end - start) / ((high - low) or 1.0)

    def __call__(self, value: float) -> float:
        return round(self._start + (value - self._low) * self._slope, 1)


def _bounds(
    shapes: Iterable[Line | Band], floor: float | None, ceiling: float | None
) -> tuple[float, float]:
    known = [value for value in (floor, ceiling) if value is not None]
    for shape in shapes:
        every = shape.values if isinstance(shape, Line) else (*shape.low, *shape.high)
        known += [value for value in every if value is not None]
    low, high = min(known, default=0.0), max(known, default=1.0)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _curve(line: Line, xs: Sequence[float], up: _scale) -> Curve:
    known = [value for value in line.values if value is not None]
    last = figure(known[-1], ".3g") if known else "–"
    return Curve(line.label, line.tone, _path(xs, line.values, up), last)


def _path(xs: Sequence[float], values: Values, up: _scale) -> str:
    parts, pen = [], "M"
    for x, value in zip(xs, values, strict=True):
        if value is None:
            pen = "M"
            continue
        parts.append(f"{pen}{x:g} {up(value):g}")
        pen = "L"
    if len(parts) == 1:  # a dot, where a line would be nothing
        parts.append("h0.1")
    return "".join(parts)


def _area(band: Band, xs: Sequence[float], up: _scale) -> str:
    points = [
        (x, up(low), up(high))
        for x, low, high in zip(xs, band.low, band.high, strict=True)
        if low is not None and high is not None
    ]
    there = [f"{x:g} {high:g}" for x, _, high in points]
    back = [f"{x:g} {low:g}" for x, low, _ in reversed(points)]
    return f"M{'L'.join(there + back)}Z" if points else ""


def _few(steps: Sequence[int]) -> list[int]:
    if len(steps) <= _TICKS:
        return list(steps)
    return [steps[(len(steps) - 1) * at // _TICKS] for at in range(_TICKS + 1)]


def _round_values(low: float, high: float) -> list[float]:
    """Three to seven round values within the bounds."""
    raw = (high - low) / _TICKS
    size = 10 ** math.floor(math.log10(raw))
    step = next(size * factor for factor in (1, 2, 2.5, 5, 10) if size * factor >= raw)
    first = math.ceil(low / step - 1e-9)
    count = math.floor(high / step + 1e-9) - first + 1
    return [(first + at) * step for at in range(count)]


def _data(
    steps: Sequence[int], lines: Sequence[Line], band: Band | None, bounds: tuple[float, float]
) -> str:
    series = [{"label": line.label, "tone": line.tone, "values": line.values} for line in lines]
    shaded = {"label": band.label, "low": band.low, "high": band.high} if band else None
    return json.dumps({"x": steps, "lines": series, "band": shaded, "bounds": bounds})


def _told(title: str, steps: Sequence[int], lines: Sequence[Line]) -> str:
    parts = []
    for line in lines:
        known = [value for value in line.values if value is not None]
        if known:
            first, last = figure(known[0], ".3g"), figure(known[-1], ".3g")
            parts.append(f"{line.label} from {first} to {last}")
    over = f"over steps {steps[0]} to {steps[-1]}" if steps else "without steps"
    return f"{title} {over}: {', '.join(parts) or 'no values'}"
