"""Scores: models or files scored by a classifier, reward model, endpoint or rule."""

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any, BinaryIO, Final

from fastapi import APIRouter, File, Form, Query, Response, UploadFile
from pydantic import BaseModel, Field, Json

from app.domain import json_dataclasses
from app.domain.reward_parts import RewardPart
from app.models import Scoring
from app.services.rounds import scoring_csv, scorings
from app.services.rounds.scorings import PromptChoice, ScoredCase, ScorerChoice
from app.web.deps import LeadAccess, ProjectAccess, Servers
from app.web.guarded_route import GuardedRoute, takes_file
from app.web.openapi import files
from app.web.row_ids import RowId

router = APIRouter(
    prefix="/api/v1/projects/{slug}/scores", tags=["scores"], route_class=GuardedRoute
)

CSV: Final = "text/csv; charset=utf-8"
_CHUNK = 1 << 16


class ScoreIn(BaseModel):
    """Models to score on prompts; the scorer has the fields of a part of a reward."""

    scorer: dict[str, Any]
    models: list[int]
    group: str = "test"
    category: str = ""
    prompts: int = 100
    threshold: float | None = None
    is_high_bad: bool = True


class ScoringOut(BaseModel):
    """A scoring; `finished_at` is null until all responses are scored."""

    id: int
    title: str
    source: str
    sides: list[str]
    rows: int
    is_judged: bool
    threshold: float | None
    job_id: int | None
    remarks: list[str]
    created_at: datetime
    finished_at: datetime | None


class FiguresOut(ScoringOut):
    """A scoring with its figures, as `attune score --json` prints them."""

    figures: dict[str, Any]


class CaseOut(BaseModel):
    """A prompt with the responses and scores of all sides."""

    row: int
    subset: str
    messages: list[dict[str, Any]]
    earlier: Annotated[
        list[list[dict[str, Any]]],
        Field(description="The turns before each response to a follow-up; empty without any."),
    ]
    responses: list[str | None]
    scores: list[float | None]


class CasesOut(BaseModel):
    """Some of a side's cases, the worst first."""

    cases: list[CaseOut]
    found: int


@router.get("")
def show_all(access: LeadAccess) -> list[ScoringOut]:
    """Return the scorings, newest first."""
    return [_out(one) for one in scorings.of_project(access.session, access.project.id)]


@router.post("", status_code=202)
def create(access: LeadAccess, body: ScoreIn, servers: Servers) -> ScoringOut:
    """Score responses of models to prompts of the project; the first is compared with."""
    choice = ScorerChoice(_part(body.scorer), body.threshold, body.is_high_bad)
    chosen = PromptChoice(body.group, body.category, body.prompts)
    return _out(
        scorings.create(
            access.session,
            access.project,
            choice,
            body.models,
            chosen,
            user_id=access.user.id,
            servers=servers,
        )
    )


@router.post("/files", status_code=202)
@takes_file
def create_of_file(
    access: LeadAccess,
    servers: Servers,
    file: Annotated[UploadFile, File()],
    scorer: Annotated[Json[dict[str, Any]], Form(description="The scorer as JSON.")],
    threshold: Annotated[float | None, Form()] = None,
    is_high_bad: Annotated[bool, Form()] = True,
) -> ScoringOut:
    """Score a file's responses, or measure the scorer on its judged pairs."""
    choice = ScorerChoice(_part(scorer), threshold, is_high_bad)
    return _out(
        scorings.create_of_file(
            access.session,
            access.project,
            choice,
            _chunks(file.file),
            file.filename or "",
            user_id=access.user.id,
            servers=servers,
        )
    )


@router.get("/{scoring_id}")
def show(access: LeadAccess, scoring_id: RowId) -> FiguresOut:
    """Return a scoring with its figures so far."""
    scoring = _get(access, scoring_id)
    figures = scorings.figures(access.session, scoring).to_json()
    return FiguresOut(**_out(scoring).model_dump(), figures=figures)


@router.get("/{scoring_id}/cases")
def cases(
    access: LeadAccess,
    scoring_id: RowId,
    side: int = 0,
    start: Annotated[int, Query(ge=0)] = 0,
    count: Annotated[int, Query(ge=1, le=200)] = 50,
) -> CasesOut:
    """Return a side's cases, the worst first; of judged pairs, the worst errors first."""
    scoring = _get(access, scoring_id)
    found, total = scorings.worst(access.session, scoring, side, start, count)
    return CasesOut(cases=[_case(one) for one in found], found=total)


@router.get("/{scoring_id}/csv", response_class=Response, responses=files(CSV))
def download(access: LeadAccess, scoring_id: RowId) -> Response:
    """Return all responses with their scores as CSV."""
    lines = scoring_csv.lines(access.session, _get(access, scoring_id))
    return Response("".join(lines), media_type=CSV)


@router.delete("/{scoring_id}", status_code=204)
def remove(access: LeadAccess, scoring_id: RowId) -> None:
    """Delete a scoring."""
    scorings.remove(access.session, _get(access, scoring_id), user_id=access.user.id)


def _get(access: ProjectAccess, scoring_id: int) -> Scoring:
    return scorings.get(access.session, access.project.id, scoring_id)


def _part(given: dict[str, Any]) -> RewardPart:
    part: RewardPart = json_dataclasses.read(RewardPart, given, "the scorer")
    return part


def _out(scoring: Scoring) -> ScoringOut:
    return ScoringOut(
        id=scoring.id,
        title=scoring.title,
        source=scoring.source,
        sides=[str(side["name"]) for side in scoring.sides],
        rows=scoring.rows,
        is_judged=scoring.is_judged,
        threshold=scoring.threshold,
        job_id=scoring.job_id,
        remarks=scoring.remarks,
        created_at=scoring.created_at,
        finished_at=scoring.finished_at,
    )


def _case(case: ScoredCase) -> CaseOut:
    return CaseOut(
        row=case.place + 1,
        subset=case.subset,
        messages=[dict(turn) for turn in case.messages],
        earlier=[[dict(turn) for turn in turns] for turns in case.earlier],
        responses=list(case.texts),
        scores=list(case.scores),
    )


def _chunks(stream: BinaryIO) -> Iterator[bytes]:
    while chunk := stream.read(_CHUNK):
        yield chunk
