"""AI judges: added, tried, compared with people, and asked to label."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import Form, Request, Response
from pydantic import BaseModel, model_validator

from app.domain.judges import measures, prompts, servers
from app.domain.judges.measures import JudgeMeasures
from app.domain.judges.prompts import Message
from app.domain.judges.servers import SETTING, AllowedServer
from app.domain.judges.setup import JUDGED_KINDS, MAX_TOKENS, JudgeLimits, JudgeSetup
from app.domain.ranking import Ranking
from app.errors import AttuneError
from app.models import AiJudgment, Job, Judge
from app.services.judging import ai_judgments, judges
from app.services.judging.ai_judgments import JudgeTotals
from app.services.quality import judge_quality
from app.services.rounds import judge_jobs
from app.services.rounds.judge_jobs import JudgeTask
from app.web import addresses
from app.web.deps import LeadAccess, ProjectAccess
from app.web.render import redirect, render

router = addresses.page_router()

SHOWN = 20
_EXAMPLE = ({"role": "user", "content": "(the prompt)"},)
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
    """A judge with what it has done and how it compares with people."""

    judge: Judge
    setup: JudgeSetup
    limits: JudgeLimits
    totals: JudgeTotals
    measures: JudgeMeasures
    why_not_alone: str


@dataclass(frozen=True, slots=True)
class JudgesPage:
    """The judges, and the form to add one; `why_not` says why this project can have none."""

    rows: list[JudgeRow]
    servers: tuple[AllowedServer, ...]
    form: JudgeForm
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
    error: str = ""
    least: int = field(default=measures.LEAST_COMPARED)

    @staticmethod
    def verdict(ranks: Sequence[int]) -> str:
        """Return a ranking by letters in canonical order, such as "A" or "C > A = B"."""
        groups = [
            " = ".join(prompts.LETTERS[place] for place in group)
            for group in Ranking(tuple(ranks)).groups
        ]
        if len(groups) == 1:
            return "tie"
        return groups[0] if len(ranks) == 2 else " > ".join(groups)


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
def show(request: Request, access: LeadAccess, judge_id: int) -> Response:
    """Show one judge."""
    return render(request, "judges/one.html", _one(access, judge_id))


@router.post("/p/{slug}/labelers/judges/{judge_id}/try")
def try_one(
    request: Request, access: LeadAccess, judge_id: int, comparison: Annotated[int, Form()]
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
    request: Request, access: LeadAccess, judge_id: int, count: Annotated[int, Form()] = 100
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
    request: Request, access: LeadAccess, judge_id: int, count: Annotated[int, Form()] = 100
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
    request: Request, access: LeadAccess, judge_id: int, reason: Annotated[str, Form()] = ""
) -> Response:
    """Let the judge judge alone without a comparison with people; the reason is recorded."""
    judge = judges.get(access.session, access.project.id, judge_id)
    try:
        judges.let_alone(access.session, judge, reason, actor_id=access.user.id)
    except AttuneError as error:
        page = _one(access, judge_id, str(error))
        return render(request, "judges/one.html", page, status=422)
    return redirect(request, _url(access, judge), notice="Recorded in the audit log.")


@router.post("/p/{slug}/labelers/judges/{judge_id}/limits")
def set_limits(
    request: Request, access: LeadAccess, judge_id: int, form: Annotated[JudgeForm, Form()]
) -> Response:
    """Change the limits and prices."""
    judge = judges.get(access.session, access.project.id, judge_id)
    try:
        judges.set_limits(access.session, judge, form.limits, actor_id=access.user.id)
    except AttuneError as error:
        page = _one(access, judge_id, str(error))
        return render(request, "judges/one.html", page, status=422)
    return redirect(request, _url(access, judge), notice="Saved.")


@router.post("/p/{slug}/labelers/judges/{judge_id}/archive")
def archive(
    request: Request, access: LeadAccess, judge_id: int, archived: Annotated[bool, Form()] = True
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
        job = ask(judge)
    except AttuneError as error:
        page = _one(access, judge_id, str(error))
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
        _row(access, judge, totals.get(judge.id, JudgeTotals()))
        for judge in judges.of_project(session, project.id)
    ]
    return JudgesPage(rows, _allowed(request), form or JudgeForm(), _why_not(access), error)


def _one(access: ProjectAccess, judge_id: int, error: str = "") -> JudgePage:
    session, project = access.session, access.project
    judge = judges.get(session, project.id, judge_id)
    totals = ai_judgments.totals(session, project.id).get(judge.id, JudgeTotals())
    row = _row(access, judge, totals)
    listed = judge_jobs.of_judge(session, judge)
    trials = [job for job in listed if job.payload["task"] == JudgeTask.TRY]
    rubric = judges.rubric(session, project, row.setup).rubric
    kind = project.judgment_kind if project.judgment_kind in JUDGED_KINDS else JUDGED_KINDS[0]
    k = 2 if kind == JUDGED_KINDS[0] else 3
    return JudgePage(
        row,
        prompts.comparison(rubric, kind, _EXAMPLE, _EXAMPLE_RESPONSES[:k]),
        listed,
        trials[0] if trials else None,
        ai_judgments.newest(session, judge.id, limit=SHOWN, failed=False),
        ai_judgments.newest(session, judge.id, limit=SHOWN, failed=True),
        JudgeForm(**judge.limits),
        error,
    )


def _row(access: ProjectAccess, judge: Judge, totals: JudgeTotals) -> JudgeRow:
    return JudgeRow(
        judge,
        judges.setup_of(judge),
        judges.limits_of(judge),
        totals,
        judge_quality.of_judge(access.session, judge),
        judge_quality.why_not_alone(access.session, judge),
    )


def _why_not(access: ProjectAccess) -> str:
    kind = access.project.judgment_kind
    if kind in JUDGED_KINDS:
        return ""
    return f"labelers {kind} here, and AI judges only pick or rank"


def _allowed(request: Request) -> tuple[AllowedServer, ...]:
    return servers.allowed(request.app.state.settings.judge_servers)


def _url(access: ProjectAccess, judge: Judge) -> str:
    return addresses.path("judges.show", slug=access.project.slug, judge_id=judge.id)
