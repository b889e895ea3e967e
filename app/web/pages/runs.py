"""A training run: its charts, other runs drawn over them, and all points of a chart."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlencode

from fastapi import Query, Request, Response
from pydantic import Field

from app.domain.states import OVER_JOB_STATES
from app.errors import NotFound
from app.services.jobs import training_runs
from app.services.jobs.training_runs import TrainingRun
from app.web import addresses, chart_files, run_charts
from app.web.charts import Chart, ChartRow
from app.web.deps import LeadAccess, ProjectAccess
from app.web.render import render
from app.web.row_ids import ROW_ID_MOST, RowId
from app.web.training_charts import JOB_NAMES, JobCharts

router = addresses.page_router()
ROWS = 500

OverId = Annotated[int, Field(ge=0, le=ROW_ID_MOST)]
Over = Annotated[list[OverId], Query(default_factory=list)]
"""The other runs to draw over a run."""


@dataclass(frozen=True, slots=True)
class RunPage:
    """A run, the others of its kind, and which of these are drawn over it."""

    run: TrainingRun
    title: str
    others: list[TrainingRun]
    over: list[TrainingRun]
    left_out: int  # chosen, but more than there are colors
    charted: JobCharts
    most_others: int = run_charts.MOST_OTHERS

    @property
    def is_over(self) -> bool:
        """Whether neither this run nor one drawn over it will get new points."""
        return all(run.job.state in OVER_JOB_STATES for run in (self.run, *self.over))

    @property
    def query(self) -> str:
        """The part of the address that keeps the choice of other runs."""
        return _query(self.over)


@dataclass(frozen=True, slots=True)
class RunChartPage:
    """One chart of a run, and a page of the table of all its points."""

    run: TrainingRun
    title: str
    chart: Chart
    query: str
    number: int

    @property
    def pages(self) -> int:
        """How many pages the table has."""
        return max(-(-len(self.chart.places) // ROWS), 1)

    @property
    def rows(self) -> tuple[ChartRow, ...]:
        """The rows of this page of the table."""
        first = (self.number - 1) * ROWS
        return self.chart.rows_at(self.chart.places[first : first + ROWS])

    def link(self, number: int) -> str:
        """Return the address of a page of the table."""
        return f"{self.chart.page_url}&{urlencode({'page': number})}"


@router.get("/p/{slug}/rounds/runs/{job_id}")
def show(
    request: Request,
    access: LeadAccess,
    job_id: RowId,
    over: Over,
    chart: Annotated[str, Query()] = "",
    page: Annotated[int, Query(ge=1, le=ROW_ID_MOST)] = 1,
) -> Response:
    """Show the charts of a run, or one of them with all its points."""
    if chart:
        return render(request, "runs/chart.html", _one(access, job_id, over, chart, page))
    return render(request, "runs/page.html", _page(access, job_id, over))


@router.get("/p/{slug}/rounds/runs/{job_id}/live")
def live(request: Request, access: LeadAccess, job_id: RowId, over: Over) -> Response:
    """Show the charts again while the run trains."""
    return render(request, "runs/_live.html", _page(access, job_id, over), fragment=True)


@router.get("/p/{slug}/rounds/runs/{job_id}/points.csv")
def points(
    access: LeadAccess,
    job_id: RowId,
    over: Over,
    chart: Annotated[str, Query()] = "",
) -> Response:
    """Return all points of a chart, at every step, as a file for spreadsheets."""
    if not chart:
        raise NotFound("the address names no chart")
    run, _, chosen, _ = _chosen(access, job_id, over)
    return chart_files.csv(run_charts.whole(access.session, access.project, run, chosen, chart))


def _page(access: ProjectAccess, job_id: int, over: Sequence[int]) -> RunPage:
    run, others, chosen, left_out = _chosen(access, job_id, over)
    charted = run_charts.of_run(access.session, access.project, run, chosen)
    return RunPage(run, _title(run), others, chosen, left_out, charted)


def _one(
    access: ProjectAccess, job_id: int, over: Sequence[int], key: str, number: int
) -> RunChartPage:
    run, _, chosen, _ = _chosen(access, job_id, over)
    chart = run_charts.whole(access.session, access.project, run, chosen, key)
    page = RunChartPage(run, _title(run), chart, _query(chosen), number)
    if number > page.pages:
        raise NotFound(f"the table has {page.pages} pages, and no page {number}")
    return page


def _chosen(
    access: ProjectAccess, job_id: int, over: Sequence[int]
) -> tuple[TrainingRun, list[TrainingRun], list[TrainingRun], int]:
    """Return the run, the others of its kind, those to draw over it, and how many are too many."""
    run, others = training_runs.find(access.session, access.project.id, job_id)
    known = {other.job.id: other for other in others}
    ids = list(dict.fromkeys(id_ for id_ in over if id_ != job_id))
    for id_ in ids:
        if id_ not in known:
            raise NotFound(f"job {id_} is not another {run.job.kind} run of this project")
    chosen = [known[id_] for id_ in ids]
    most = run_charts.MOST_OTHERS
    return run, others, chosen[:most], max(len(chosen) - most, 0)


def _title(run: TrainingRun) -> str:
    return f"{JOB_NAMES[run.job.kind]}, {run.name[:1].lower()}{run.name[1:]}"


def _query(over: Sequence[TrainingRun]) -> str:
    return urlencode([("over", other.job.id) for other in over])
