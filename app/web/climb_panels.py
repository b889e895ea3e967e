"""A panel of the climb's picture: figures over rounds, as numbers for an SVG.

Only the geometry and the words are computed here. What was not measured is named below its panel
and never drawn.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from textwrap import wrap

from app.domain.climb import ClimbRound
from app.domain.measures import Interval, Measure, Undefined
from app.web.ticks import nice_values, tick_label

WIDTH = 360
LEFT, RIGHT, TOP, BOTTOM = 40.0, 350.0, 32.0, 152.0
_LEGEND_END, _NOTE_LINE, _NOTE_CHARACTERS = 200, 14, 60
_CHARACTER = 5.8  # the mean width of one, in pixels
_CEILING_MARK = 2
_APART = 9.0  # between the points that two lines have for the same round

Enough = Callable[[Measure], bool]


@dataclass(frozen=True, slots=True)
class Series:
    """A figure over the rounds; `is_enough` says whether a round's measure decides anything."""

    name: str
    field: str
    is_enough: Enough | None = None

    def of(self, round_: ClimbRound) -> Measure:
        """Return the measure of a round."""
        measure: Measure = getattr(round_, self.field)
        return measure


@dataclass(frozen=True, slots=True)
class Point:
    """A measured value of one round; `top` and `bottom` are the ends of its interval."""

    x: float
    y: float
    top: float | None
    bottom: float | None
    is_enough: bool


@dataclass(frozen=True, slots=True)
class DrawnSeries:
    """A line with its points; `at` is its place among the lines of the panel."""

    at: int
    name: str
    points: tuple[Point, ...]
    paths: tuple[str, ...]  # interrupted where a round was not measured


@dataclass(frozen=True, slots=True)
class ClimbPanel:
    """A chart over the rounds, with `notes` on what was not measured or is not enough."""

    title: str
    rounds: tuple[ClimbRound, ...]
    series: tuple[Series, ...]
    is_share: bool = True
    mark: float | None = None
    has_ceiling: bool = False
    digits: int = 0
    y_name: str = "Share"
    unit: str = "%"

    @property
    def drawn(self) -> tuple[DrawnSeries, ...]:
        """The lines that have a point."""
        lines = (self._draw(at, each) for at, each in enumerate(self.series))
        return tuple(line for line in lines if line.points)

    @property
    def ticks(self) -> tuple[tuple[float, str], ...]:
        """The heights of the horizontal grid lines, with their labels."""
        if not self.drawn:
            return ()
        low, high = self._range()
        if self.is_share:
            values = nice_values(100 * low, 100 * high)
            marked = values if self.mark is None else {*values, 100 * self.mark}
            return tuple((self._y(v / 100), f"{v:.0f} %") for v in sorted(marked))
        return tuple((self._y(v), tick_label(v, high - low)) for v in nice_values(low, high))

    @property
    def mark_y(self) -> float | None:
        """The height of the level to compare with, if anything is drawn."""
        return None if self.mark is None or not self.drawn else self._y(self.mark)

    @property
    def columns(self) -> tuple[tuple[float, str], ...]:
        """The rounds, with their positions from the left; of very many, not all have a label."""
        every = -(-len(self.rounds) // 12)
        return tuple(
            (self._x(at), str(round_.number) if at % every == 0 else "")
            for at, round_ in enumerate(self.rounds)
        )

    @property
    def ceilings(self) -> tuple[tuple[float, float, float, float], ...]:
        """The noise ceiling's band of each round that has one: left, top, width and height."""
        if not self.has_ceiling:
            return ()
        width = min(44.0, (RIGHT - LEFT) / max(len(self.rounds), 1) * 0.8)
        bands = []
        for at, round_ in enumerate(self.rounds):
            low, high = round_.ceiling_low.value, round_.ceiling_high.value
            if not isinstance(low, Undefined) and not isinstance(high, Undefined):
                top = self._y(high)
                height = max(self._y(low) - top, 1.0)
                bands.append((self._x(at) - width / 2, top, width, height))
        return tuple(bands)

    @property
    def notes(self) -> tuple[str, ...]:
        """What was not measured, and what is measured but not enough, in one line each."""
        missing, thin = list(self._missing()), list(self._thin())
        lines = []
        if missing:
            lines.append(f"Not measured: {'; '.join(missing)}")
        if thin:
            lines.append(f"Not enough: {'; '.join(thin)}")
        return tuple(lines)

    @property
    def note_lines(self) -> tuple[str, ...]:
        """The notes, broken into lines that fit the panel."""
        return tuple(line for note in self.notes for line in wrap(note, _NOTE_CHARACTERS))

    @property
    def height(self) -> int:
        """The height of the panel with its notes."""
        return _LEGEND_END + _NOTE_LINE * len(self.note_lines) + (4 if self.notes else 0)

    @property
    def legend(self) -> tuple[tuple[float, int, str], ...]:
        """What is drawn: its position from the left, its mark, and its name."""
        names = [(line.at, line.name) for line in self.drawn]
        if self.ceilings:
            names.append((_CEILING_MARK, "noise ceiling"))
        entries, x = [], LEFT
        for at, name in names:
            entries.append((x, at, name))
            x += 30 + _CHARACTER * len(name)
        return tuple(entries)

    @property
    def in_words(self) -> str:
        """The values in one sentence per round, for those who cannot see the picture."""
        values = ((r.number, ", ".join(self._values(r))) for r in self.rounds)
        rounds = [f"Round {number}: {said}" for number, said in values if said]
        return f"{self.title}. {'. '.join([*rounds, *self.notes])}."

    def _values(self, round_: ClimbRound) -> Iterator[str]:
        for each in self.series:
            value = each.of(round_).value
            if not isinstance(value, Undefined):
                shown = f"{100 * value:.0f} %" if self.is_share else f"{value:,.{self.digits}f}"
                yield f"{each.name} {shown}"

    def _missing(self) -> Iterator[str]:
        for each in self.series:
            rounds = [r.number for r in self.rounds if isinstance(each.of(r).value, Undefined)]
            if rounds:
                yield f"{each.name} in {rounds_in_words(rounds)}"

    def _thin(self) -> Iterator[str]:
        for each in self.series:
            rounds = [r.number for r in self.rounds if _is_thin(each, r)]
            if rounds:
                yield f"{each.name} in {rounds_in_words(rounds)}"

    def _draw(self, at: int, series: Series) -> DrawnSeries:
        points: list[Point] = []
        runs: list[list[Point]] = [[]]
        shift = _APART * (at - (len(self.series) - 1) / 2)
        for place, round_ in enumerate(self.rounds):
            point = self._point(self._x(place) + shift, series, round_)
            if point is None:
                runs.append([])
            else:
                points.append(point)
                runs[-1].append(point)
        paths = ("M" + "L".join(f"{p.x:.1f} {p.y:.1f}" for p in run) for run in runs if run[1:])
        return DrawnSeries(at, series.name, tuple(points), tuple(paths))

    def _point(self, x: float, series: Series, round_: ClimbRound) -> Point | None:
        measure = series.of(round_)
        if isinstance(measure.value, Undefined):
            return None
        y, is_enough = self._y(measure.value), not _is_thin(series, round_)
        if isinstance(measure.interval, Undefined):
            return Point(x, y, None, None, is_enough)
        return Point(x, y, self._y(measure.interval.high), self._y(measure.interval.low), is_enough)

    @property
    def range(self) -> tuple[float, float] | None:
        """The fixed range of a win rate, whose interval says little without 0 and 100 %."""
        return (0.0, 1.0) if self.mark is not None else None

    def _range(self) -> tuple[float, float]:
        if self.range:
            return self.range
        measures = [each.of(round_) for each in self.series for round_ in self.rounds]
        if self.has_ceiling:
            measures += [end for r in self.rounds for end in (r.ceiling_low, r.ceiling_high)]
        values = [end for measure in measures for end in _ends(measure)]
        low, high = min(values, default=0.0), max(values, default=1.0)
        pad = max((high - low) * 0.06, 0.02 if self.is_share else 0.05 * abs(high) or 0.5)
        return (low - pad if self.is_share else max(low - pad, 0.0)), high + pad

    def _x(self, place: int) -> float:
        return LEFT + (RIGHT - LEFT) * (place + 0.5) / len(self.rounds)

    def _y(self, value: float) -> float:
        low, high = self._range()
        return BOTTOM - (BOTTOM - TOP) * (value - low) / (high - low)


def _is_thin(series: Series, round_: ClimbRound) -> bool:
    measure = series.of(round_)
    if series.is_enough is None or isinstance(measure.value, Undefined):
        return False
    return not series.is_enough(measure)


def _ends(measure: Measure) -> Iterator[float]:
    if not isinstance(measure.value, Undefined):
        yield measure.value
    if isinstance(measure.interval, Interval):
        yield measure.interval.low
        yield measure.interval.high


def rounds_in_words(numbers: Sequence[int]) -> str:
    """Return round numbers in words, with runs of three and more shortened: rounds 1, 3–6."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][-1] == number - 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    parts = [
        f"{run[0]}–{run[-1]}" if len(run) > 2 else ", ".join(str(number) for number in run)
        for run in runs
    ]
    return f"round{'s' if len(numbers) > 1 else ''} {', '.join(parts)}"
