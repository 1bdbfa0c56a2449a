"""Curves and histograms as SVG geometry. Pure.

A plot is `WIDTH` by `HEIGHT` units, which a page stretches to its room. Labels stand outside, at
places in percent of its width and height.
"""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from statistics import fmean
from typing import Final

from citemark_service.printable import figure

WIDTH: Final = 1000
HEIGHT: Final = 100
_LABELS: Final = 4  # intervals between the labels of an axis, about

Values = Sequence[float | None]
Ticks = list[tuple[float, str]]  # places in percent, and labels


@dataclass(frozen=True, slots=True)
class Curve:
    """One curve; a None leaves a gap."""

    label: str
    values: Values
    tone: int = 1  # of the style sheet's, 1 to 4

    @property
    def known(self) -> list[float]:
        return [value for value in self.values if value is not None]


@dataclass(frozen=True)
class Chart:
    """Curves over steps, and at most one area between two further curves."""

    title: str
    steps: Sequence[int]
    lines: Sequence[Curve]
    band: tuple[Values, Values] | None = None  # lower and upper edge of the area
    floor: float | None = None  # of the value axis, which goes lower where values do
    ceiling: float | None = None

    @cached_property
    def bounds(self) -> tuple[float, float]:
        edges = [value for edge in self.band or () for value in edge]
        values = [self.floor, self.ceiling, *edges, *(v for line in self.lines for v in line.known)]
        known = [value for value in values if value is not None]
        low, high = min(known, default=0.0), max(known, default=1.0)
        # An axis needs a length: one value alone stands in its middle.
        return (low, high) if high > low else (low - 0.5, high + 0.5)

    @property
    def rows(self) -> Ticks:
        low, high = self.bounds
        return [(100.0 - at, label) for at, label in _round_ticks(low, high)]

    @property
    def columns(self) -> Ticks:
        """Labels of the step axis: all steps where they are few, else five of them."""
        steps, last = self.steps, len(self.steps) - 1
        if last >= _LABELS:
            steps = [steps[last * at // _LABELS] for at in range(_LABELS + 1)]
        return [(_place(step, self.steps[0], self.steps[-1], 100), str(step)) for step in steps]

    def path(self, line: Curve) -> str:
        return _path(zip(self._xs, map(self._y, line.values), strict=True))

    @property
    def area(self) -> str:
        """The band's path; empty without one."""
        if self.band is None:
            return ""
        low, high = (list(map(self._y, edge)) for edge in self.band)
        points = [each for each in zip(self._xs, low, high, strict=True) if None not in each]
        # Along the upper edge, and back along the lower.
        there = [f"{x:g} {y:g}" for x, _, y in points]
        back = [f"{x:g} {y:g}" for x, y, _ in reversed(points)]
        return f"M{'L'.join(there + back)}Z" if points else ""

    @property
    def data(self) -> str:
        """The values as JSON, for the script that shows them under the pointer."""
        lines = list(map(asdict, self.lines))
        return json.dumps({"steps": self.steps, "lines": lines, "bounds": self.bounds})

    @property
    def summary(self) -> str:
        """The chart in a sentence, for screen readers."""
        parts = [
            f"{line.label} from {figure(line.known[0], '.3g')} to {figure(line.known[-1], '.3g')}"
            for line in self.lines
            if line.known
        ]
        over = f"over steps {self.steps[0]} to {self.steps[-1]}" if self.steps else "without steps"
        return f"{self.title} {over}: {', '.join(parts) or 'no values'}"

    @cached_property
    def _xs(self) -> list[float]:
        return [_place(step, self.steps[0], self.steps[-1], WIDTH) for step in self.steps]

    def _y(self, value: float | None) -> float | None:
        # The y axis of SVG points down.
        return None if value is None else HEIGHT - _place(value, *self.bounds, HEIGHT)


@dataclass(frozen=True)
class Histogram:
    """Numbers of values in equal bins from `low` to `high`, which hold them all."""

    values: Sequence[float]
    low: float
    high: float
    bins: int = 24

    @property
    def bars(self) -> list[tuple[float, float, float, float, str]]:
        """For each bin x, y, width and height in the plot, and a label."""
        counts, size = [0] * self.bins, (self.high - self.low) / self.bins or 1.0
        for value in self.values:
            counts[max(0, min(self.bins - 1, int((value - self.low) / size)))] += 1
        heights = [round(HEIGHT * count / max(counts), 2) for count in counts]
        width = WIDTH / self.bins
        edges = [figure(self.low + at * size, ".2f") for at in range(self.bins + 1)]
        labels = [f"{edges[at]} to {edges[at + 1]}: {count}" for at, count in enumerate(counts)]
        return [
            (round(at * width + 1.5, 1), HEIGHT - height, round(width - 3, 1), height, labels[at])
            for at, height in enumerate(heights)
        ]

    @property
    def columns(self) -> Ticks:
        return _round_ticks(self.low, self.high)

    @property
    def mean(self) -> float:
        return fmean(self.values)

    @property
    def mean_place(self) -> float:
        """Where the mean stands, in percent."""
        return _place(self.mean, self.low, self.high, 100)


def sparkline(values: Values, *, width: int = 120, height: int = 28) -> str:
    """The path of a small curve without axes; empty where there are not two values."""
    known = [value for value in values if value is not None]
    if len(known) < 2:
        return ""
    low, high, last = min(known), max(known), len(values) - 1
    xs = (2 + _place(at, 0, last, width - 4) for at in range(len(values)))
    ys = (None if v is None else height - 2 - _place(v, low, high, height - 4) for v in values)
    return _path(zip(xs, ys, strict=True))


def _place(value: float, low: float, high: float, length: float) -> float:
    """Where `value`, between `low` and `high`, stands along `length`."""
    return round((value - low) / ((high - low) or 1.0) * length, 2)


def _path(points: Iterable[tuple[float, float | None]]) -> str:
    parts, pen = [], "M"
    for x, y in points:
        if y is None:
            pen = "M"
            continue
        parts.append(f"{pen}{x:g} {y:g}")
        pen = "L"
    if len(parts) == 1:  # a line of no length is not drawn; this makes it a dot
        parts.append("h0.1")
    return "".join(parts)


def _round_ticks(low: float, high: float) -> Ticks:
    """Three to seven round values between the bounds."""
    raw = (high - low) / _LABELS
    size = 10 ** math.floor(math.log10(raw))
    step = next(size * factor for factor in (1, 2, 2.5, 5, 10) if size * factor >= raw)
    # The bounds themselves count, in spite of rounding.
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    values = [at * step for at in range(first, last + 1)]
    return [(_place(value, low, high, 100), figure(value, ".3g")) for value in values]
