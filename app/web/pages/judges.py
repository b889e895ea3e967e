"""AI judges: added, tried, compared with people, and asked to label."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import Form, Request, Response
from pydantic import BaseModel, model_validator

from app.domain.judges import askings, measures, prompts
from app.domain.judges.measures import JudgeMeasures
from app.domain.judges.prompts import Message, Rubric
from app.domain.judges.rated_measures import CriterionMeasures
from app.domain.judges.servers import SETTING, AllowedServer
from app.domain.judges.setup import JUDGED_KINDS, MAX_TOKENS, JudgeLimits, JudgeSetup
from app.domain.judgment_kinds import ORDERING_KINDS, JudgmentKind
from app.errors import AttuneError
from app.models import AiJudgment, AiOutcome, Job, Judge
from app.services.judging import ai_judgments, judges
from app.services.judging.ai_judgments import JudgeTotals
from app.services.quality import judge_quality
from app.services.rounds import judge_jobs
from app.services.rounds.judge_jobs import JudgeTask
from app.web import addresses, ai_verdicts
from app.web.deps import LeadAccess, ProjectAccess, allowed_servers
from app.web.render import redirect, render
from app.web.row_ids import RowId

router = addresses.page_router()

SHOWN = 20
TASKS: Mapping[str, str] = {
    JudgeTask.TRY: "try one comparison",
    JudgeTask.COMPARE: "compare with people",
    JudgeTask.LABEL: "label",
    JudgeTask.EVALUATE: "judge an evaluation, alongside people",
    JudgeTask.DECIDE: "decide an evaluation",
}
OUTCOMES: Mapping[str, str] = {
    AiOutcome.JUDGED: "judged",
    AiOutcome.MALFORMED: "no verdict could be read",
    AiOutcome.REFUSED: "refused by the server",
}
_EXAMPLE = ({"role": "user", "content": "(the prompt)"},)
_EXAMPLE_SIZES = {JudgmentKind.PICK: 2, JudgmentKind.RANK: 3}
_EXAMPLE_RESPONSES = ("(one response)", "(the other response)", "(a third response)")


class JudgeForm(BaseModel):
    """The settings of a judge as form fields; empty prices and limits are unknown."""

    name: str = ""
    server: str = ""
    model: str = ""
    notes: str = ""
    temperature: float = 0.0
    max_tokens: int = MAX_TOKENS
    json_mode: bool = False
    requests_per_minute: int | None = None
    concurrency: int = JudgeLimits().concurrency
    timeout_s: int = JudgeLimits().timeout_s
    price_in: float | None = None
    price_out: float | None = None
    currency: str = JudgeLimits().currency
    budget: float | None = None

    @model_validator(mode="before")
    @classmethod
    def _without_empty(cls, given: Any) -> Any:
        """Treat an empty field as one that was not sent."""
        if not isinstance(given, dict):
            return given
        return {name: value for name, value in given.items() if value != ""}

    @property
    def setup(self) -> JudgeSetup:
        """The setup of the form."""
        return JudgeSetup(
            self.name.strip(),
            self.server.strip(),
            self.model.strip(),
            self.notes.replace("\r\n", "\n").strip(),
            self.temperature,
            self.max_tokens,
            self.json_mode,
        )

    @property
    def limits(self) -> JudgeLimits:
        """The limits of the form."""
        return JudgeLimits(
            self.requests_per_minute,
            self.concurrency,
            self.timeout_s,
            self.price_in,
            self.price_out,
            self.currency.strip().upper(),
            self.budget,
        )


@dataclass(frozen=True, slots=True)
class JudgeRow:
    """A judge with what it has done and how it compares with people.

    `why_not_asked` says that the operator does not allow its server any more; empty if it does.
    """

    judge: Judge
    setup: JudgeSetup
    limits: JudgeLimits
    totals: JudgeTotals
    measures: JudgeMeasures
    why_not_alone: str
    why_not_asked: str

    @property
    def on_ratings(self) -> CriterionMeasures | None:
        """Its agreement on ratings in one figure: of the weighted mean, or of the one criterion."""
        single = self.measures.single
        return single.mean or (single.criteria[0][1] if single.criteria else None)


@dataclass(frozen=True, slots=True)
class JudgesPage:
    """The judges, and the form to add one; `why_not` says why this project can have none."""

    rows: list[JudgeRow]
    servers: tuple[AllowedServer, ...]
    form: JudgeForm
    kind: JudgmentKind
    why_not: str = ""
    error: str = ""
    setting: str = SETTING


@dataclass(frozen=True, slots=True)
class JudgePage:
    """One judge: agreement, prompt, jobs, newest judgments and what it could not judge."""

    row: JudgeRow
    prompt: tuple[Message, ...]
    jobs: list[Job]
    trial: Job | None
    judged: list[AiJudgment]
    failed: list[AiJudgment]
    form: JudgeForm
    kind: JudgmentKind
    error: str = ""
    least: int = field(default=measures.LEAST_COMPARED)
    tasks: Mapping[str, str] = field(default_factory=lambda: TASKS)
    outcomes: Mapping[str, str] = field(default_factory=lambda: OUTCOMES)

    @property
    def compares(self) -> bool:
        """Whether picks and rankings are of interest: they are asked for, or were judged."""
        measured = self.row.measures
        judged = measured.agreement.n or measured.longer.n or measured.first_place.n
        return self.kind in ORDERING_KINDS or bool(judged)

    @staticmethod
    def verdict(
        ranking: Sequence[int] | None,
        ratings: Mapping[str, Sequence[int]] | None,
        thumb: str | None,
    ) -> str:
        """Return a verdict in words, with responses named by letters in canonical order."""
        if ranking and len(ranking) == 2 and len(set(ranking)) > 1:
            return prompts.LETTERS[ranking.index(1)]
        return ai_verdicts.in_letters(ranking, ratings, thumb)


@router.get("/p/{slug}/labelers/judges")
def show_all(request: Request, access: LeadAccess) -> Response:
    """List the judges."""
    return render(request, "judges/page.html", _all(request, access))


@router.post("/p/{slug}/labelers/judges")
def add(request: Request, access: LeadAccess, form: Annotated[JudgeForm, Form()]) -> Response:
    """Add a judge."""
    try:
        judge = judges.create(
            access.session,
            access.project,
            form.setup,
            form.limits,
            allowed=_allowed(request),
            actor_id=access.user.id,
        )
    except AttuneError as error:
        page = _all(request, access, form, str(error))
        return render(request, "judges/page.html", page, status=422)
    notice = f"{judge.name} is {judge.pseudonym}. Try it, then compare it with people."
    return redirect(request, _url(access, judge), notice=notice)


@router.get("/p/{slug}/labelers/judges/{judge_id}")
def show(request: Request, access: LeadAccess, judge_id: RowId) -> Response:
    """Show one judge."""
    return render(request, "judges/one.html", _one(request, access, judge_id))


@router.post("/p/{slug}/labelers/judges/{judge_id}/try")
def try_one(
    request: Request, access: LeadAccess, judge_id: RowId, comparison: Annotated[int, Form()]
) -> Response:
    """Ask the judge about one comparison."""
    return _asked(
        request,
        access,
        judge_id,
        lambda judge: judge_jobs.try_one(
            access.session, judge, comparison, actor_id=access.user.id
        ),
    )


@router.post("/p/{slug}/labelers/judges/{judge_id}/compare")
def compare(
    request: Request, access: LeadAccess, judge_id: RowId, count: Annotated[int, Form()] = 100
) -> Response:
    """Ask the judge about comparisons that people have judged."""
    return _asked(
        request,
        access,
        judge_id,
        lambda judge: judge_jobs.compare(access.session, judge, count, actor_id=access.user.id),
    )


@router.post("/p/{slug}/labelers/judges/{judge_id}/label")
def label(
    request: Request, access: LeadAccess, judge_id: RowId, count: Annotated[int, Form()] = 100
) -> Response:
    """Ask the judge about comparisons that wait for judgments."""
    return _asked(
        request,
        access,
        judge_id,
        lambda judge: judge_jobs.label(access.session, judge, count, actor_id=access.user.id),
    )


@router.post("/p/{slug}/labelers/judges/{judge_id}/alone")
def let_alone(
    request: Request, access: LeadAccess, judge_id: RowId, reason: Annotated[str, Form()] = ""
) -> Response:
    """Let the judge judge alone without a comparison with people; the reason is recorded."""
    judge = judges.get(access.session, access.project.id, judge_id)
    try:
        judges.let_alone(access.session, judge, reason, actor_id=access.user.id)
    except AttuneError as error:
        page = _one(request, access, judge_id, str(error))
        return render(request, "judges/one.html", page, status=422)
    return redirect(request, _url(access, judge), notice="Recorded in the audit log.")


@router.post("/p/{slug}/labelers/judges/{judge_id}/limits")
def set_limits(
    request: Request, access: LeadAccess, judge_id: RowId, form: Annotated[JudgeForm, Form()]
) -> Response:
    """Change the limits and prices."""
    judge = judges.get(access.session, access.project.id, judge_id)
    try:
        judges.check_server(judge, _allowed(request))
        judges.set_limits(access.session, judge, form.limits, actor_id=access.user.id)
    except AttuneError as error:
        page = _one(request, access, judge_id, str(error))
        return render(request, "judges/one.html", page, status=422)
    return redirect(request, _url(access, judge), notice="Saved.")


@router.post("/p/{slug}/labelers/judges/{judge_id}/archive")
def archive(
    request: Request, access: LeadAccess, judge_id: RowId, archived: Annotated[bool, Form()] = True
) -> Response:
    """Archive the judge, or restore it."""
    judge = judges.get(access.session, access.project.id, judge_id)
    judges.archive(access.session, judge, is_archived=archived, actor_id=access.user.id)
    return redirect(request, _url(access, judge), notice="Archived." if archived else "Restored.")


def _asked(
    request: Request, access: ProjectAccess, judge_id: int, ask: Callable[[Judge], Job]
) -> Response:
    judge = judges.get(access.session, access.project.id, judge_id)
    try:
        judges.check_server(judge, _allowed(request))
        job = ask(judge)
    except AttuneError as error:
        page = _one(request, access, judge_id, str(error))
        return render(request, "judges/one.html", page, status=422)
    count = len(job.payload["comparison_ids"])
    what = "1 comparison" if count == 1 else f"{count:,} comparisons"
    return redirect(request, _url(access, judge), notice=f"Job {job.id} asks about {what}.")


def _all(
    request: Request, access: ProjectAccess, form: JudgeForm | None = None, error: str = ""
) -> JudgesPage:
    session, project = access.session, access.project
    totals = ai_judgments.totals(session, project.id)
    rows = [
        _row(access, judge, totals.get(judge.id, JudgeTotals()), _allowed(request))
        for judge in judges.of_project(session, project.id)
    ]
    return JudgesPage(
        rows,
        _allowed(request),
        form or JudgeForm(),
        JudgmentKind(project.judgment_kind),
        _why_not(access),
        error,
    )


def _one(request: Request, access: ProjectAccess, judge_id: int, error: str = "") -> JudgePage:
    session, project = access.session, access.project
    judge = judges.get(session, project.id, judge_id)
    totals = ai_judgments.totals(session, project.id).get(judge.id, JudgeTotals())
    row = _row(access, judge, totals, _allowed(request))
    listed = judge_jobs.of_judge(session, judge)
    trials = [job for job in listed if job.payload["task"] == JudgeTask.TRY]
    rubric = judges.rubric(session, project, row.setup).rubric
    return JudgePage(
        row,
        _prompt(rubric, JudgmentKind(project.judgment_kind)),
        listed,
        trials[0] if trials else None,
        ai_judgments.newest(session, judge.id, limit=SHOWN, failed=False),
        ai_judgments.newest(session, judge.id, limit=SHOWN, failed=True),
        JudgeForm(**judge.limits),
        JudgmentKind(project.judgment_kind),
        error,
    )


def _prompt(rubric: Rubric, kind: JudgmentKind) -> tuple[Message, ...]:
    """Return the first request about an example; projects with texts only show a pick."""
    asked = kind if kind in JUDGED_KINDS else JudgmentKind.PICK
    responses = _EXAMPLE_RESPONSES[: _EXAMPLE_SIZES.get(asked, 1)]
    return askings.of_comparison(rubric, asked, _EXAMPLE, responses)[0].messages


def _row(
    access: ProjectAccess, judge: Judge, totals: JudgeTotals, allowed: Sequence[AllowedServer]
) -> JudgeRow:
    return JudgeRow(
        judge,
        judges.setup_of(judge),
        judges.limits_of(judge),
        totals,
        judge_quality.of_judge(access.session, judge),
        judge_quality.why_not_alone(access.session, judge),
        judges.why_not_asked(judge, allowed),
    )


def _why_not(access: ProjectAccess) -> str:
    kind = access.project.judgment_kind
    if kind in JUDGED_KINDS:
        return ""
    return f"labelers {kind} here, and AI judges only pick, rank, rate and give thumbs"


def _allowed(request: Request) -> tuple[AllowedServer, ...]:
    return allowed_servers(request).judges


def _url(access: ProjectAccess, judge: Judge) -> str:
    return addresses.path("judges.show", slug=access.project.slug, judge_id=judge.id)
