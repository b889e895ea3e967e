"""The chart of what more judgments would bring: accuracy by comparisons, measured and forecast."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from app.models import Checkpoint
from app.services.rounds import loop_overview
from app.services.rounds.loop_overview import RewardLines
from app.web import addresses, charts
from app.web.charts import Chart, ChartBand, ChartLine, ChartMark, LineStyle


def of_model(checkpoint: Checkpoint, slug: str) -> Chart | None:
    """Return the chart of a reward model with its file; None if nothing was measured."""
    value = checkpoint.metrics.get("label_value")
    if not isinstance(value, Mapping):
        return None
    address = addresses.path("models.value", slug=slug, checkpoint_id=checkpoint.id)
    name = charts.file_name(slug, checkpoint.name, "label-value")
    chart = of(value, loop_overview.reward_lines(checkpoint))
    return replace(chart, csv_url=address, file_name=name)


def of(value: Mapping[str, Any], lines: RewardLines | None) -> Chart:
    """Return the chart of a recorded learning curve, in percent."""
    measured = value["measured"]
    forecast = sorted((value["doubled"], value["more"]), key=lambda point: point["comparisons"])
    marks: tuple[ChartMark, ...] = ()
    bands: tuple[ChartBand, ...] = ()
    if lines and lines.human is not None:
        marks = (ChartMark(100 * lines.human, "human level"),)
    if lines and lines.ceiling_low is not None and lines.ceiling_high is not None:
        bands = (ChartBand(100 * lines.ceiling_low, 100 * lines.ceiling_high, "noise ceiling"),)
    return Chart(
        "Accuracy by comparisons",
        "on the same held-out votes; the bars are 95 % intervals",
        (_line("measured", measured, 1), _line("forecast", forecast, 2)),
        digits=1,
        unit="%",
        y_name="Accuracy",
        x_name="Comparisons",
        marks=marks,
        bands=bands,
    )


def _line(name: str, points: Iterable[Mapping[str, Any]], color: int) -> ChartLine:
    kept = list(points)
    ends = (None if one["low"] is None else (100 * one["low"], 100 * one["high"]) for one in kept)
    return ChartLine(
        name,
        tuple((float(one["comparisons"]), 100 * float(one["accuracy"])) for one in kept),
        is_dashed=color > 1,
        color=color,
        style=LineStyle.POINTS,
        ends=tuple(ends),
    )
