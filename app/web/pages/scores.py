"""Scores: models or files scored by a classifier, reward model, endpoint or rule."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, BinaryIO

from fastapi import Form, Query, Request, Response

from app.domain.allowed_servers import AllowedServers
from app.domain.plan import Sampling
from app.domain.score_figures import ScoreSummary
from app.domain.states import OVER_JOB_STATES, JobState
from app.errors import AttuneError
from app.models import Checkpoint, Job, Scoring
from app.services.checkpoints import checkpoints, reward_models
from app.services.jobs import job_waits
from app.services.project import prompt_search
from app.services.rounds import scoring_csv, scorings
from app.services.rounds.scorings import ScoredCase
from app.web import addresses, chart_files, score_chart, score_fields
from app.web.charts import Chart
from app.web.deps import LeadAccess, ProjectAccess, Servers
from app.web.guarded_route import takes_file
from app.web.render import redirect, render
from app.web.row_ids import RowId
from app.web.score_fields import ScoreFields

router = addresses.page_router()

PAGE = 10
_CHUNK = 1 << 16


@dataclass(frozen=True, slots=True)
class ScoringRow:
    """A scoring with its job and, as far as it has come, its figures."""

    scoring: Scoring
    job: Job | None

    @property
    def state(self) -> str:
        """The state of the job."""
        return "deleted" if self.job is None else str(self.job.state)

    @property
    def is_over(self) -> bool:
        """Whether nothing will change any more."""
        return self.job is None or JobState(self.job.state) in OVER_JOB_STATES


@dataclass(frozen=True, slots=True)
class ScoresPage:
    """The scorings, newest first, and the form for a new one."""

    rows: list[ScoringRow]
    form: ScoreFields
    models: list[Checkpoint]
    ticked: frozenset[int]
    categories: list[str]
    sources: list[str]
    error: str = ""
    sampling: Sampling = field(default_factory=Sampling)

    @property
    def choices(self) -> dict[str, tuple[tuple[str, str], ...]]:
        """The options of the form's choices."""
        return {
            "kinds": score_fields.KINDS,
            "scores": score_fields.SCORES,
            "reads": score_fields.READS,
            "worst": score_fields.WORST,
            "groups": score_fields.GROUPS,
        }


@dataclass(frozen=True, slots=True)
class ScoringPage:
    """One scoring: its figures, and the worst cases of a side beside the first side.

    `waits_for` says why its job has not started.
    """

    row: ScoringRow
    waits_for: str
    summary: ScoreSummary
    side: int
    cases: list[ScoredCase]
    found: int
    number: int
    distribution: Chart

    @property
    def scoring(self) -> Scoring:
        """The scoring."""
        return self.row.scoring

    @property
    def scored(self) -> int:
        """The number of scores that there are so far."""
        return sum(side.spread.n for side in self.summary.sides)

    @property
    def names(self) -> list[str]:
        """The names of the sides."""
        return [str(side["name"]) for side in self.scoring.sides]

    @property
    def shown_sides(self) -> list[int]:
        """The sides whose responses the worst cases show: the first, and the one chosen."""
        return [0, 1] if self.scoring.is_judged else sorted({0, self.side})

    def link(self, number: int) -> str:
        """Return the address of another page of the same side's cases."""
        return f"?side={self.side}&page={number}"

    @property
    def pages(self) -> int:
        """The number of pages of cases."""
        return max(-(-self.found // PAGE), 1)


@router.get("/p/{slug}/scores")
def show_all(request: Request, access: LeadAccess, servers: Servers) -> Response:
    """List the scorings, with the form for a new one."""
    return render(request, "scores/page.html", _page(access, servers, ScoreFields()))


@router.post("/p/{slug}/scores")
@takes_file
def create(
    request: Request, access: LeadAccess, servers: Servers, form: Annotated[ScoreFields, Form()]
) -> Response:
    """Create a scoring, which a job computes."""
    try:
        scoring = _create(access, form, servers)
    except AttuneError as error:
        page = _page(access, servers, form, str(error))
        return render(request, "scores/page.html", page, status=422)
    url = addresses.path("scores.show", slug=access.project.slug, scoring_id=scoring.id)
    return redirect(request, url)


@router.get("/p/{slug}/scores/{scoring_id}")
def show(
    request: Request,
    access: LeadAccess,
    scoring_id: RowId,
    side: Annotated[int | None, Query(ge=0)] = None,
    page: Annotated[int, Query(ge=1)] = 1,
) -> Response:
    """Show the figures of a scoring and its worst cases."""
    return render(request, "scores/one.html", _one(access, scoring_id, side, page))


@router.get("/p/{slug}/scores/{scoring_id}/live")
def live(request: Request, access: LeadAccess, scoring_id: RowId) -> Response:
    """Return the progress of a scoring, which refreshes while its job is at work."""
    return render(request, "scores/_job.html", _one(access, scoring_id, None, 1), fragment=True)


@router.get("/p/{slug}/scores/{scoring_id}/csv")
def download(access: LeadAccess, scoring_id: RowId) -> Response:
    """Download the responses with their scores."""
    scoring = scorings.get(access.session, access.project.id, scoring_id)
    name = f"{access.project.slug}-scores-{scoring.id}.csv"
    return Response(
        "".join(scoring_csv.lines(access.session, scoring)),
        media_type="text/csv; charset=utf-8",
        headers={"content-disposition": f'attachment; filename="{name}"'},
    )


@router.get("/p/{slug}/scores/{scoring_id}/distribution.csv")
def distribution(access: LeadAccess, scoring_id: RowId) -> Response:
    """Return the distribution of the scores as a file for spreadsheets."""
    scoring = scorings.get(access.session, access.project.id, scoring_id)
    summary = scorings.figures(access.session, scoring)
    return chart_files.csv(score_chart.of_scoring(scoring, summary, access.project.slug))


@router.post("/p/{slug}/scores/{scoring_id}/remove")
def remove(request: Request, access: LeadAccess, scoring_id: RowId) -> Response:
    """Delete a scoring."""
    scoring = scorings.get(access.session, access.project.id, scoring_id)
    title = scoring.title
    scorings.remove(access.session, scoring, user_id=access.user.id)
    url = addresses.path("scores.show_all", slug=access.project.slug)
    return redirect(request, url, notice=f"The scores by {title} are deleted.")


def _create(access: ProjectAccess, form: ScoreFields, servers: AllowedServers) -> Scoring:
    session, project, user_id = access.session, access.project, access.user.id
    if form.responses != "file":
        return scorings.create(
            session,
            project,
            form.scorer,
            form.models,
            form.chosen,
            user_id=user_id,
            servers=servers,
        )
    upload = form.upload
    return scorings.create_of_file(
        session,
        project,
        form.scorer,
        _chunks(upload.file),
        upload.filename or "",
        user_id=user_id,
        servers=servers,
    )


def _page(
    access: ProjectAccess, servers: AllowedServers, form: ScoreFields, error: str = ""
) -> ScoresPage:
    session, project = access.session, access.project
    models = scorings.models(session, project.id)
    ticked = frozenset(form.models)
    if not ticked and not error and models:
        current = checkpoints.current_policy(session, project)
        ticked = frozenset({models[0].id, models[-1].id if current is None else current.id})
    return ScoresPage(
        [
            ScoringRow(one, scorings.job_of(session, one))
            for one in scorings.of_project(session, project.id)
        ],
        form,
        models,
        ticked,
        prompt_search.categories(session, project.id),
        [*reward_models.readable(session, project.id, access.user.id), *servers.scoring],
        error,
    )


def _one(access: ProjectAccess, scoring_id: int, side: int | None, number: int) -> ScoringPage:
    session = access.session
    scoring = scorings.get(session, access.project.id, scoring_id)
    # What a lead wants to see first is what the last model does worst.
    shown = len(scoring.sides) - 1 if side is None else side
    cases, found = scorings.worst(session, scoring, shown, (number - 1) * PAGE, PAGE)
    row = ScoringRow(scoring, scorings.job_of(session, scoring))
    waits_for = "" if row.job is None else job_waits.why(session, row.job)
    summary = scorings.figures(session, scoring)
    chart = score_chart.of_scoring(scoring, summary, access.project.slug)
    return ScoringPage(row, waits_for, summary, shown, cases, found, number, chart)


def _chunks(stream: BinaryIO) -> Iterator[bytes]:
    while chunk := stream.read(_CHUNK):
        yield chunk
