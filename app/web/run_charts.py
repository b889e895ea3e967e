"""The charts of a training run, with the same charts of other runs drawn over them."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from urllib.parse import urlencode

from sqlalchemy.orm import Session

from app.errors import NotFound
from app.models import Project
from app.services.jobs.training_runs import TrainingRun
from app.services.rounds import round_progress
from app.web import addresses, charts, training_charts
from app.web.charts import Chart, ChartLine
from app.web.training_charts import JobCharts

MOST_OTHERS = 7
"""Runs that are drawn over one: with it they have the eight colors of data."""


def of_run(
    session: Session,
    project: Project,
    run: TrainingRun,
    others: Sequence[TrainingRun] = (),
    overview: round_progress.RoundOverview | None = None,
) -> JobCharts:
    """Return the charts of a run, each with the lines of the other runs that have the same one."""
    own = _drawn(session, run, overview)
    same = [(other, _drawn(session, other).charts) for other in others]
    drawn = (_over(chart, run, same) for chart in own.charts)
    return replace(own, charts=tuple(_placed(c, project, run, others) for c in drawn))


def whole(
    session: Session,
    project: Project,
    run: TrainingRun,
    others: Sequence[TrainingRun],
    key: str,
) -> Chart:
    """Return one chart of a run with the points of every step.

    Raises:
        NotFound: the run has no such chart.
    """
    metrics = {
        metric
        for one in (run, *others)
        for chart in _drawn(session, one).charts
        if chart.key == key
        for line in chart.lines
        for metric in line.metrics
    }
    found = [_read(session, one, metrics, key) for one in (run, *others)]
    if found[0] is None:
        raise NotFound(f"the {run.job.kind} run of {run.name.lower()} has no chart of {key!r}")
    same = [(other, (c,) if c else ()) for other, c in zip(others, found[1:], strict=True)]
    return _placed(_over(found[0], run, same), project, run, others)


def _drawn(
    session: Session, run: TrainingRun, overview: round_progress.RoundOverview | None = None
) -> JobCharts:
    overview = overview or round_progress.overview(session, run.round)
    return training_charts.of_job(session, overview, run.job)


def _read(session: Session, run: TrainingRun, metrics: set[str], key: str) -> Chart | None:
    overview = round_progress.overview(session, run.round)
    found = training_charts.of_job(session, overview, run.job, whole=metrics).charts
    return next((chart for chart in found if chart.key == key), None)


def _over(
    chart: Chart, run: TrainingRun, same: Sequence[tuple[TrainingRun, Sequence[Chart]]]
) -> Chart:
    if not same:
        return chart
    lines = list(_of_run(chart, run, 1))
    for color, (other, theirs) in enumerate(same, 2):
        for one in theirs:
            if one.key == chart.key:
                lines += _of_run(one, other, color)
    every = max([chart.every, *(c.every for _, theirs in same for c in theirs)])
    return replace(chart, lines=tuple(lines), every=every)


def _of_run(chart: Chart, run: TrainingRun, color: int) -> Iterator[ChartLine]:
    for line in chart.lines:
        if line.points:
            yield replace(line, run=run.name, color=color)


def _placed(
    chart: Chart, project: Project, run: TrainingRun, others: Sequence[TrainingRun]
) -> Chart:
    """Return the chart with the addresses of its page and its file, which keep the other runs."""
    over = [("over", other.job.id) for other in others]
    query = urlencode([("chart", chart.key), *over])
    page = addresses.path("runs.show", slug=project.slug, job_id=run.job.id)
    points = addresses.path("runs.points", slug=project.slug, job_id=run.job.id)
    name = charts.file_name(project.slug, run.name.lower(), run.job.kind, chart.title.lower())
    return replace(chart, page_url=f"{page}?{query}", csv_url=f"{points}?{query}", file_name=name)
