"""The chart of a scoring: how the scores of each side are distributed."""

from collections.abc import Sequence
from dataclasses import replace

from app.domain.score_figures import Histogram, ScoreSummary
from app.models import Scoring
from app.web import addresses, charts
from app.web.charts import Chart, ChartEvent, ChartLine, LineStyle

_COLORS = 8


def of_scoring(scoring: Scoring, summary: ScoreSummary, slug: str) -> Chart:
    """Return the chart of a scoring, with its file."""
    names = [str(side["name"]) for side in scoring.sides]
    address = addresses.path("scores.distribution", slug=slug, scoring_id=scoring.id)
    name = charts.file_name(slug, f"scores-{scoring.id}", "distribution")
    chart = of(summary.histogram, names, scoring.threshold)
    return replace(chart, csv_url=address, file_name=name)


def of(histogram: Histogram, names: Sequence[str], threshold: float | None) -> Chart:
    """Return the chart of a histogram: a step for each bin, with the number of its scores."""
    edges = histogram.edges
    lines = tuple(
        ChartLine(
            name,
            tuple(zip(edges[:-1], map(float, counts), strict=True)),
            color=at % _COLORS + 1,
            style=LineStyle.STEPS,
        )
        for at, (name, counts) in enumerate(zip(names, histogram.counts, strict=True))
    )
    is_inside = threshold is not None and edges and edges[0] <= threshold <= edges[-1]
    events = (ChartEvent(threshold, "threshold"),) if is_inside and threshold is not None else ()
    return Chart(
        "Distribution of scores",
        "each step is a bin: how many responses have scores from its place to the next",
        lines,
        digits=0,
        y_name="Responses",
        x_name="Score",
        x_digits=3,
        events=events,
        columns=edges,
        low=0.0,
    )
