"""AI judges: added, compared with people, asked to label, and their judgments."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from app.domain.allowed_servers import AllowedServers
from app.domain.judges.setup import MAX_TOKENS, JudgeLimits, JudgeSetup
from app.models import AiJudgment, Judge
from app.services.judging import ai_judgments, judges
from app.services.judging.ai_judgments import JudgeTotals
from app.services.quality import judge_quality
from app.services.rounds import evaluations, judge_jobs
from app.web.api.jobs import JobOut
from app.web.deps import LeadAccess, ProjectAccess, Servers
from app.web.guarded_route import GuardedRoute
from app.web.row_ids import RowId

router = APIRouter(
    prefix="/api/v1/projects/{slug}/judges", tags=["judges"], route_class=GuardedRoute
)


class LimitsIn(BaseModel):
    """How fast a judge may ask, and what it costs; prices are per million tokens."""

    requests_per_minute: int | None = None
    concurrency: int = JudgeLimits().concurrency
    timeout_s: int = JudgeLimits().timeout_s
    price_in: float | None = None
    price_out: float | None = None
    currency: str = JudgeLimits().currency
    budget: float | None = None


class JudgeIn(BaseModel):
    """A judge to add; its model and notes cannot be changed later."""

    name: str
    server: str = Field(description="One of those that the operator allows.")
    model: str
    notes: str = ""
    temperature: float = 0.0
    max_tokens: int = MAX_TOKENS
    json_mode: bool = False
    limits: LimitsIn = LimitsIn()


class JudgeOut(BaseModel):
    """A judge, what it has done, and how it compares with people."""

    id: int
    name: str
    pseudonym: str
    setup: dict[str, Any]
    limits: dict[str, Any]
    totals: dict[str, Any]
    measures: dict[str, Any]
    why_not_alone: str = Field(description="Why it may not judge alone yet; empty if it may.")
    alone_reason: str = Field(description="Why a lead let it judge alone without a comparison.")
    archived_at: datetime | None


class JudgeAskIn(BaseModel):
    """How many comparisons to ask about."""

    count: int = 100


class TryIn(BaseModel):
    """The comparison to try the judge on."""

    comparison_id: int


class AloneIn(BaseModel):
    """Why the judge may judge alone without a comparison with people."""

    reason: str


class EvaluationIn(BaseModel):
    """An evaluation to ask the judge about, and whether it decides in the place of people."""

    evaluation_id: int
    decides: bool = False


class AiJudgmentOut(BaseModel):
    """What a judge said of a comparison; `orders` has each request, with its explanation.

    The fields of other kinds are null, and so is a thumb if the replies contradict each other.
    """

    comparison_id: int
    outcome: str
    error: str
    ranking: list[int] | None
    strength: int | None
    ratings: dict[str, list[int]] | None
    thumb: str | None
    is_consistent: bool
    orders: list[dict[str, Any]]
    tokens_in: int | None
    tokens_out: int | None
    cost: float | None
    guidelines_version: int
    created_at: datetime


@router.get("")
def list_judges(access: LeadAccess) -> list[JudgeOut]:
    """Return the project's judges."""
    totals = ai_judgments.totals(access.session, access.project.id)
    listed = judges.of_project(access.session, access.project.id)
    return [_out(access, judge, totals.get(judge.id, JudgeTotals())) for judge in listed]


@router.post("", status_code=201)
def add(access: LeadAccess, servers: Servers, body: JudgeIn) -> JudgeOut:
    """Add a judge."""
    values = body.model_dump(exclude={"limits"})
    judge = judges.create(
        access.session,
        access.project,
        JudgeSetup(**values),
        JudgeLimits(**body.limits.model_dump()),
        allowed=servers.judges,
        actor_id=access.user.id,
    )
    return _out(access, judge, JudgeTotals())


@router.get("/{judge_id}")
def show(access: LeadAccess, judge_id: RowId) -> JudgeOut:
    """Return a judge with its agreement with people, consistency and cost."""
    return _shown(access, judges.get(access.session, access.project.id, judge_id))


@router.put("/{judge_id}/limits")
def set_limits(access: LeadAccess, servers: Servers, judge_id: RowId, body: LimitsIn) -> JudgeOut:
    """Change a judge's limits and prices."""
    judge = _allowed(access, servers, judge_id)
    limits = JudgeLimits(**body.model_dump())
    judges.set_limits(access.session, judge, limits, actor_id=access.user.id)
    return _shown(access, judge)


@router.post("/{judge_id}/alone")
def let_alone(access: LeadAccess, judge_id: RowId, body: AloneIn) -> JudgeOut:
    """Let a judge judge alone without a comparison with people; the reason is recorded."""
    judge = judges.get(access.session, access.project.id, judge_id)
    judges.let_alone(access.session, judge, body.reason, actor_id=access.user.id)
    return _shown(access, judge)


@router.post("/{judge_id}/try", status_code=202)
def try_one(access: LeadAccess, servers: Servers, judge_id: RowId, body: TryIn) -> JobOut:
    """Ask a judge about one comparison; the job's result has its prompt, replies and cost."""
    judge = _allowed(access, servers, judge_id)
    return JobOut.of(
        judge_jobs.try_one(access.session, judge, body.comparison_id, actor_id=access.user.id)
    )


@router.post("/{judge_id}/compare", status_code=202)
def compare(access: LeadAccess, servers: Servers, judge_id: RowId, body: JudgeAskIn) -> JobOut:
    """Ask a judge about comparisons that people have judged."""
    judge = _allowed(access, servers, judge_id)
    return JobOut.of(judge_jobs.compare(access.session, judge, body.count, actor_id=access.user.id))


@router.post("/{judge_id}/label", status_code=202)
def label(access: LeadAccess, servers: Servers, judge_id: RowId, body: JudgeAskIn) -> JobOut:
    """Ask a judge about comparisons that wait for judgments; labelers are asked all the same."""
    judge = _allowed(access, servers, judge_id)
    return JobOut.of(judge_jobs.label(access.session, judge, body.count, actor_id=access.user.id))


@router.post("/{judge_id}/evaluate", status_code=202)
def evaluate(access: LeadAccess, servers: Servers, judge_id: RowId, body: EvaluationIn) -> JobOut:
    """Ask a judge about an evaluation, beside people or, with `decides`, in their place."""
    judge = _allowed(access, servers, judge_id)
    evaluation = evaluations.get(access.session, access.project.id, body.evaluation_id)
    ask = judge_jobs.decide if body.decides else judge_jobs.evaluate
    return JobOut.of(ask(access.session, judge, evaluation, actor_id=access.user.id))


@router.get("/{judge_id}/judgments")
def judgments(
    access: LeadAccess,
    judge_id: RowId,
    failed: Annotated[bool, Query(description="Those without a verdict instead.")] = False,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Sequence[AiJudgmentOut]:
    """Return a judge's newest judgments, with its explanations."""
    judge = judges.get(access.session, access.project.id, judge_id)
    rows = ai_judgments.newest(access.session, judge.id, limit=limit, failed=failed)
    return [_judgment(row) for row in rows]


def _allowed(access: ProjectAccess, servers: AllowedServers, judge_id: int) -> Judge:
    """Return a judge that can be asked and changed: its server is on the operator's list."""
    judge = judges.get(access.session, access.project.id, judge_id)
    judges.check_server(judge, servers.judges)
    return judge


def _shown(access: LeadAccess, judge: Judge) -> JudgeOut:
    totals = ai_judgments.totals(access.session, access.project.id)
    return _out(access, judge, totals.get(judge.id, JudgeTotals()))


def _out(access: LeadAccess, judge: Judge, totals: JudgeTotals) -> JudgeOut:
    return JudgeOut(
        id=judge.id,
        name=judge.name,
        pseudonym=judge.pseudonym,
        setup=judge.setup,
        limits=judge.limits,
        totals=asdict(totals),
        measures=asdict(judge_quality.of_judge(access.session, judge)),
        why_not_alone=judge_quality.why_not_alone(access.session, judge),
        alone_reason=judge.alone_reason,
        archived_at=judge.archived_at,
    )


def _judgment(row: AiJudgment) -> AiJudgmentOut:
    return AiJudgmentOut(
        comparison_id=row.comparison_id,
        outcome=row.outcome,
        error=row.error,
        ranking=row.ranking,
        strength=row.strength,
        ratings=row.ratings,
        thumb=row.thumb,
        is_consistent=row.is_consistent,
        orders=row.orders,
        tokens_in=row.tokens_in,
        tokens_out=row.tokens_out,
        cost=row.cost,
        guidelines_version=row.guidelines_version,
        created_at=row.created_at,
    )
