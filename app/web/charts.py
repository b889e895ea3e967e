"""Charts as pages describe them: lines with their intervals, and the levels to compare them with.

The browser draws a chart from its `drawing` (static/charts); without a script the page shows its
table. `csv_text` has every point of a chart, with all its digits.
"""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

_ROWS_WHOLE, _ROWS_FEW = 40, 12
_DIGITS_DRAWN = 7

Point = tuple[float, float]
Ends = tuple[float, float] | None
Item = TypeVar("Item")


class LineStyle(StrEnum):
    """How a line is drawn: through its points, with a dot each, as steps, or as boxes."""

    LINE = "line"
    POINTS = "points"  # a dot and an interval each; interrupted where a column has no point
    STEPS = "steps"  # a histogram: each value holds from its place to the next
    RANGE = "range"  # from the low to the high end of each point


@dataclass(frozen=True, slots=True)
class ChartLine:
    """A named line through points; `ends` are their intervals, `is_thin` those too wide to decide.

    `color` is one of eight, and a dashed line is the second of its color. `metrics` names the
    logged metrics that the points were read from.
    """

    name: str
    points: tuple[Point, ...]
    is_dashed: bool = False
    color: int = 1
    style: LineStyle = LineStyle.LINE
    ends: tuple[Ends, ...] = ()
    is_thin: tuple[bool, ...] = ()
    run: str = ""
    metrics: tuple[str, ...] = ()

    @property
    def last(self) -> float | None:
        """The newest value."""
        return self.points[-1][1] if self.points else None

    @property
    def title(self) -> str:
        """The name, with the run that the line is of where there are several."""
        return f"{self.run}, {self.name}" if self.run else self.name

    def ends_at(self, at: int) -> Ends:
        """Return the interval of a point; None if it has none."""
        return self.ends[at] if self.ends else None


@dataclass(frozen=True, slots=True)
class ChartCell:
    """A value in a chart's table, with its interval; a range is its interval alone."""

    value: float
    ends: Ends = None
    is_range: bool = False


ChartRow = tuple[float, tuple[ChartCell | None, ...]]


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
class ChartEvent:
    """What happened at a place of the horizontal axis, and why."""

    x: float
    label: str
    why: str = ""
    is_alarm: bool = False


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart: its title, note and axes, its lines, and the levels to compare them with."""

    title: str
    note: str
    lines: tuple[ChartLine, ...]
    digits: int = 2
    unit: str = ""
    y_name: str = ""
    x_name: str = "Step"
    x_digits: int = 0
    marks: tuple[ChartMark, ...] = ()
    bands: tuple[ChartBand, ...] = ()
    events: tuple[ChartEvent, ...] = ()
    notes: tuple[str, ...] = ()  # what was not measured
    columns: tuple[float, ...] = ()  # the only places that can have a point; edges, of steps
    low: float | None = None
    high: float | None = None
    metric: str = ""  # the logged metric of the first line, for the glossary
    name: str = ""  # in addresses, where the metric does not name one chart
    every: int = 1  # each how many steps have a point here
    csv_url: str = ""
    page_url: str = ""
    file_name: str = "chart"

    @property
    def key(self) -> str:
        """What names the chart among those of its page."""
        return self.name or self.metric or self.title

    @property
    def axis(self) -> str:
        """The title of the vertical axis, with its unit."""
        name = self.y_name or self.title
        return f"{name} ({self.unit})" if self.unit else name

    @property
    def last(self) -> float | None:
        """The newest value of the first line."""
        return self.lines[0].last if self.lines else None

    @property
    def last_of(self) -> str:
        """What the newest value is of: the line, if there are several, and its step."""
        if not self.lines or not self.lines[0].points:
            return ""
        line = f"{self.lines[0].title}, " if len(self.lines) > 1 else ""
        return f"{line}{self.x_name.lower()} {self.lines[0].points[-1][0]:,.{self.x_digits}f}"

    @property
    def has_newest(self) -> bool:
        """Whether the lines go on in time, so that the last value is the newest."""
        return not any(line.style is LineStyle.STEPS for line in self.lines)

    @property
    def is_empty(self) -> bool:
        """Whether no line has a point yet."""
        return not any(line.points for line in self.lines)

    @property
    def alarms(self) -> tuple[ChartEvent, ...]:
        """The events that are alarms."""
        return tuple(event for event in self.events if event.is_alarm)

    @property
    def places(self) -> tuple[float, ...]:
        """Where the lines have points, from left to right."""
        return tuple(sorted({x for line in self.lines for x, _ in line.points}))

    @property
    def rows(self) -> tuple[ChartRow, ...]:
        """The rows of the table: a place and each line's value; of many, a dozen."""
        places = self.places
        return self.rows_at(places if self.is_whole else spread(places, _ROWS_FEW))

    @property
    def is_whole(self) -> bool:
        """Whether the table has a row for every place."""
        return self.every == 1 and len(self.places) <= _ROWS_WHOLE

    def rows_at(self, places: Sequence[float]) -> tuple[ChartRow, ...]:
        """Return a row for each place, with None where a line has no point."""
        cells = [
            {
                x: ChartCell(y, line.ends_at(at), line.style is LineStyle.RANGE)
                for at, (x, y) in enumerate(line.points)
            }
            for line in self.lines
        ]
        return tuple((x, tuple(line.get(x) for line in cells)) for x in places)

    @property
    def drawing(self) -> dict[str, object]:
        """What the browser draws, as plain values; numbers to seven significant digits."""
        return {
            "key": self.key,
            "title": self.title,
            "x": self.x_name,
            "y": self.axis,
            "unit": self.unit,
            "digits": self.digits,
            "placeDigits": self.x_digits,
            "file": self.file_name,
            "low": self.low,
            "high": self.high,
            "columns": list(self.columns),
            "lines": [_line(line) for line in self.lines if line.points],
            "marks": [
                {"value": mark.value, "label": mark.label, "limit": mark.is_limit}
                for mark in self.marks
            ],
            "bands": [
                {"low": band.low, "high": band.high, "label": band.label} for band in self.bands
            ],
            "events": [
                {"x": event.x, "label": event.label, "why": event.why, "alarm": event.is_alarm}
                for event in self.events
            ],
            "whole": self.csv_url if self.every > 1 else "",
        }


def spread(items: Sequence[Item], most: int) -> list[Item]:
    """Return at most `most` evenly spaced items, including the first and the last."""
    if len(items) <= most:
        return list(items)
    return [items[round(at * (len(items) - 1) / (most - 1))] for at in range(most)]


def file_name(*parts: str) -> str:
    """Return a name for downloads that every file system takes, without its ending."""
    words = (re.sub(r"[^A-Za-z0-9._]+", "-", part).strip("-._") for part in parts)
    return "-".join(word for word in words if word)[:100] or "chart"


def csv_text(chart: Chart) -> str:
    """Return a line for each point of each line: run, line, place, value, and its interval."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(["run", "line", chart.x_name.lower(), "value", "low", "high"])
    for line in chart.lines:
        for at, (x, y) in enumerate(line.points):
            low, high = line.ends_at(at) or ("", "")
            writer.writerow([_safe(line.run), _safe(line.name), _place(x), repr(y), low, high])
    return text.getvalue()


def _line(line: ChartLine) -> dict[str, object]:
    drawn: dict[str, object] = {
        "run": line.run,
        "name": line.name,
        "color": line.color,
        "dashed": line.is_dashed,
        "style": str(line.style),
        "x": [_place(x) for x, _ in line.points],
        "y": list(_drawn(y for _, y in line.points)),
    }
    if any(line.ends):
        ends = [pair or (y, y) for pair, (_, y) in zip(line.ends, line.points, strict=True)]
        drawn["low"] = list(_drawn(low for low, _ in ends))
        drawn["high"] = list(_drawn(high for _, high in ends))
    if any(line.is_thin):
        drawn["thin"] = list(line.is_thin)
    return drawn


def _drawn(values: Iterator[float]) -> Iterator[float]:
    return (float(f"{value:.{_DIGITS_DRAWN}g}") for value in values)


def _place(x: float) -> float | int:
    return int(x) if x.is_integer() else x


def _safe(cell: str) -> str:
    """Return a cell that a spreadsheet does not take for a formula."""
    return f"'{cell}" if cell[:1] in ("=", "+", "-", "@", "\t", "\r") else cell
