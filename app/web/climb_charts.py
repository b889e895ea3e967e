"""The panels of the climb as charts for pages: figures over rounds, with their intervals."""

from collections.abc import Iterator

from app.domain.measures import Interval, Undefined
from app.web import charts
from app.web.charts import Chart, ChartLine, ChartMark, LineStyle
from app.web.climb_panels import ClimbPanel, Series
from app.web.climb_picture import Picture

_CEILING_COLOR = 3


def of_picture(picture: Picture, slug: str, csv_url: str) -> tuple[Chart, ...]:
    """Return a chart for each panel of the picture."""
    return tuple(_chart(panel, slug, csv_url) for panel in picture.panels)


def _chart(panel: ClimbPanel, slug: str, csv_url: str) -> Chart:
    scale = 100.0 if panel.is_share else 1.0
    series = [_line(panel, at, one, scale) for at, one in enumerate(panel.series)]
    low, high = (scale * end for end in panel.range) if panel.range else (None, None)
    marks = () if panel.mark is None else (ChartMark(scale * panel.mark, "even"),)
    return Chart(
        panel.title,
        "",
        tuple(line for line in (*series, *_ceiling(panel, scale)) if line.points),
        digits=1 if panel.is_share else panel.digits,
        unit=panel.unit,
        y_name=panel.y_name,
        x_name="Round",
        marks=marks,
        notes=panel.notes,
        low=low,
        high=high,
        columns=tuple(float(round_.number) for round_ in panel.rounds),
        csv_url=csv_url,
        file_name=charts.file_name(slug, "climb", panel.title.lower()),
    )


def _line(panel: ClimbPanel, at: int, series: Series, scale: float) -> ChartLine:
    points, ends, thin = [], [], []
    for round_ in panel.rounds:
        measure = series.of(round_)
        if isinstance(measure.value, Undefined):
            continue
        points.append((float(round_.number), scale * measure.value))
        pair = measure.interval
        ends.append((scale * pair.low, scale * pair.high) if isinstance(pair, Interval) else None)
        thin.append(series.is_enough is not None and not series.is_enough(measure))
    return ChartLine(
        series.name,
        tuple(points),
        is_dashed=at > 0,
        color=at + 1,
        style=LineStyle.POINTS,
        ends=tuple(ends),
        is_thin=tuple(thin),
    )


def _ceiling(panel: ClimbPanel, scale: float) -> Iterator[ChartLine]:
    """Yield the noise ceiling of the rounds that have one."""
    if not panel.has_ceiling:
        return
    points, ends = [], []
    for round_ in panel.rounds:
        low, high = round_.ceiling_low.value, round_.ceiling_high.value
        if not isinstance(low, Undefined) and not isinstance(high, Undefined):
            points.append((float(round_.number), scale * high))
            ends.append((scale * low, scale * high))
    yield ChartLine(
        "noise ceiling",
        tuple(points),
        color=_CEILING_COLOR,
        style=LineStyle.RANGE,
        ends=tuple(ends),
    )
