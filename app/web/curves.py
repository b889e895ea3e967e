"""Charts as numbers for an SVG: scaled lines, ticks, and a table with the same values.

Only the geometry is computed here; templates print it, and the style sheet sets the colors.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

WIDTH, HEIGHT = 300.0, 110.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 34.0, 4.0, 8.0, 18.0
_POINTS = 300
_ROWS = 12

Point = tuple[float, float]
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class ChartLine:
    """A named line through points; dashed where `is_second`."""

    name: str
    points: tuple[Point, ...]
    is_second: bool = False

    @property
    def last(self) -> float | None:
        """The newest value."""
        return self.points[-1][1] if self.points else None


@dataclass(frozen=True, slots=True)
class ChartMark:
    """A level to compare with, such as a budget or the human level."""

    value: float
    label: str
    is_limit: bool = False


@dataclass(frozen=True, slots=True)
class ChartBand:
    """A range to compare with, such as the noise ceiling."""

    low: float
    high: float
    label: str


@dataclass(frozen=True, slots=True)
class LinePath:
    """A line as an SVG path, with dots where it has one or two points."""

    name: str
    path: str
    dots: tuple[Point, ...]
    is_second: bool


@dataclass(frozen=True, slots=True)
class Chart:
    """A small chart: a title, a note, its lines, and the levels to compare them with."""

    title: str
    note: str
    lines: tuple[ChartLine, ...]
    digits: int = 2
    unit: str = ""
    marks: tuple[ChartMark, ...] = ()
    bands: tuple[ChartBand, ...] = ()
    x_name: str = "Step"
    spread: tuple[tuple[float, float, float], ...] = ()  # x, low, high: an area
    events: tuple[tuple[float, str], ...] = ()  # x, label: a change at this point
    low: float | None = None
    high: float | None = None
    metric: str = ""  # the logged metric of the first line, for the glossary

    @property
    def last(self) -> float | None:
        """The newest value of the first line."""
        return self.lines[0].last if self.lines else None

    @property
    def last_of(self) -> str:
        """What the newest value is of: the line, if there are several, and its step."""
        if not self.lines or not self.lines[0].points:
            return ""
        line = f"{self.lines[0].name}, " if len(self.lines) > 1 else ""
        return f"{line}{self.x_name.lower()} {self.lines[0].points[-1][0]:,.0f}"

    @property
    def is_empty(self) -> bool:
        """Whether no line has a point yet."""
        return not any(line.points for line in self.lines)

    @property
    def shown_marks(self) -> tuple[tuple[float, ChartMark], ...]:
        """The marks inside the frame, with their heights."""
        low, high = self._range()
        return tuple((self._y(m.value), m) for m in self.marks if low <= m.value <= high)

    @property
    def shown_bands(self) -> tuple[tuple[float, float, ChartBand], ...]:
        """The bands, each with its top and height."""
        shown = []
        for band in self.bands:
            top, bottom = self._y(band.high), self._y(band.low)
            shown.append((top, max(bottom - top, 0.5), band))
        return tuple(shown)

    @property
    def ticks(self) -> tuple[tuple[float, str], ...]:
        """The heights of the horizontal grid lines, with their labels."""
        low, high = self._range()
        return tuple(
            (self._y(value), tick_label(value, high - low)) for value in nice_values(low, high)
        )

    @property
    def x_ends(self) -> tuple[str, str]:
        """The labels at the ends of the horizontal axis."""
        first, last = self._span()
        return f"{first:.0f}", f"{last:.0f}"

    @property
    def drawn(self) -> tuple[LinePath, ...]:
        """The lines as SVG paths."""
        return tuple(self._draw(line) for line in self.lines if line.points)

    @property
    def spread_path(self) -> str:
        """The outline of the interval around the first line."""
        upper = [f"{self._x(x):.1f} {self._y(high):.1f}" for x, _, high in self.spread]
        lower = [f"{self._x(x):.1f} {self._y(low):.1f}" for x, low, _ in reversed(self.spread)]
        return "M" + "L".join([*upper, *lower]) + "Z" if self.spread else ""

    @property
    def shown_events(self) -> tuple[tuple[float, str], ...]:
        """The events, with their positions from the left."""
        return tuple((self._x(x), label) for x, label in self.events)

    @property
    def rows(self) -> tuple[tuple[float, tuple[float | None, ...]], ...]:
        """Up to a dozen rows for the table: a step and each line's value; always the newest."""
        steps = sorted({x for line in self.lines for x, _ in line.points})
        kept = _spread(steps, _ROWS)
        values = [dict(line.points) for line in self.lines]
        return tuple((x, tuple(line.get(x) for line in values)) for x in kept)

    def _draw(self, line: ChartLine) -> LinePath:
        points = [(self._x(x), self._y(y)) for x, y in _spread(line.points, _POINTS)]
        path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
        dots = tuple(points) if len(points) < 3 else ()
        return LinePath(line.name, path, dots, line.is_second)

    def _span(self) -> tuple[float, float]:
        steps = [x for line in self.lines for x, _ in line.points]
        if not steps:
            return 0.0, 1.0
        return min(steps), max(max(steps), min(steps) + 1)

    def _range(self) -> tuple[float, float]:
        values = [y for line in self.lines for _, y in line.points]
        values += [value for _, low, high in self.spread for value in (low, high)]
        values += [value for band in self.bands for value in (band.low, band.high)]
        # A distant level would flatten the line; it joins the frame once the line comes near it.
        reach = max(values, default=1.0), min(values, default=0.0)
        span = max(reach[0] - reach[1], 1e-9)
        values += [m.value for m in self.marks if reach[1] - span <= m.value <= reach[0] + span]
        low = self.low if self.low is not None else min(values, default=0.0)
        high = self.high if self.high is not None else max(values, default=1.0)
        if high - low < 1e-9:
            pad = abs(low) * 0.1 or 0.5
            return low - pad, high + pad
        pad = (high - low) * 0.06
        return (
            low if self.low is not None else low - pad,
            high if self.high is not None else high + pad,
        )

    def _x(self, x: float) -> float:
        first, last = self._span()
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * (x - first) / (last - first)

    def _y(self, y: float) -> float:
        low, high = self._range()
        share = (min(max(y, low), high) - low) / (high - low)
        return HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * share


def _spread(items: Sequence[Item], most: int) -> list[Item]:
    """Return at most `most` evenly spaced items, including the first and the last."""
    if len(items) <= most:
        return list(items)
    return [items[round(at * (len(items) - 1) / (most - 1))] for at in range(most)]


def nice_values(low: float, high: float) -> Iterable[float]:
    """Return three or four round values between two bounds."""
    step = 10 ** math.floor(math.log10((high - low) / 2))
    for factor in (1, 2, 5, 10):
        if (high - low) / (step * factor) <= 4:
            step *= factor
            break
    first = math.ceil(low / step)
    return [at * step for at in range(first, math.floor(high / step) + 1)]


def tick_label(value: float, span: float) -> str:
    """Return a grid line's label, with as many digits as a range of that span needs."""
    if span < 4e-4:
        return f"{value:.0e}"
    digits = 0 if span >= 4 else math.ceil(-math.log10(span / 4))
    return f"{value + 0.0:,.{digits}f}"
