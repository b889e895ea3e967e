"""Comparisons, judgments and preferences of a project: in pages, or all as a stream of lines.

A stream reads page by page, each in a short transaction of its own, so that its memory is bounded
and it never holds up labelers. Labelers appear under their pseudonyms.
"""

from collections.abc import Callable, Iterator
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter
from sqlalchemy.orm import Session

from app.db import Database
from app.domain.judgment_kinds import JudgmentKind
from app.models import Purpose, Split
from app.services.datasets import comparison_rows, judgment_rows, preference_rows, row_filters
from app.services.datasets.comparison_rows import ComparisonRow, JudgingState
from app.services.datasets.judgment_rows import JudgmentRow, JudgmentState
from app.services.datasets.preference_rows import PreferenceRow
from app.services.datasets.row_filters import MOST, RowFilter, RowPage, RowSelection
from app.web.deps import LeadAccess, ProjectAccess, database

router = APIRouter(prefix="/api/v1/projects/{slug}", tags=["rows"])

LINES: Final = "application/x-ndjson"
_LINES_OUT: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "A page; with `format=jsonl`, or if the client accepts "
        f"`{LINES}`, one JSON object per line, with all rows from the cursor on.",
        "content": {LINES: {"schema": {"type": "string"}}},
    }
}
_FILTERS: Final = (
    *("round", "purpose", "kind", "split", "source", "category", "tag", "model"),
    *("labeler", "version", "since", "until"),
)

ReadPage = Callable[[Session, str, int], RowPage[Any]]


class RowQuery(BaseModel):
    """The filters of a list, and which page of it to return. Unknown parameters are refused."""

    model_config = ConfigDict(extra="forbid")

    round: int | None = Field(None, ge=1, le=2**31 - 1, description="A round's number.")
    purpose: Purpose | None = None
    kind: JudgmentKind | None = None
    split: Split | None = None
    source: str = Field("", description="The source of the prompt.")
    category: str = Field("", description="Of the prompt; (none): without a category.")
    tag: str = Field("", description="A tag of the prompt.")
    model: str = Field("", description="The source of one of the completions.")
    labeler: str = Field("", description="A labeler's pseudonym.")
    version: int | None = Field(
        None, ge=0, le=2**31 - 1, description="A version of the guidelines; 0 if imported."
    )
    since: AwareDatetime | None = Field(None, description="This time or later.")
    until: AwareDatetime | None = Field(None, description="Before this time.")
    cursor: str = Field("", description="`next` of the page before.")
    limit: int = Field(100, ge=1, le=MOST, description="Of a page; a stream has all rows.")
    format: Literal["json", "jsonl"] = "json"

    def selection(self, access: ProjectAccess) -> RowSelection:
        """Return the filters with their names looked up."""
        chosen = RowFilter(**{name: getattr(self, name) for name in _FILTERS})
        return row_filters.resolve(access.session, access.project.id, chosen)


class ComparisonQuery(RowQuery):
    """The filters of comparisons."""

    state: JudgingState | None = None
    texts: bool = Field(False, description="Include the messages and the completions' texts.")


class JudgmentQuery(RowQuery):
    """The filters of judgments."""

    state: JudgmentState | None = Field(None, description="All revisions by default.")


class PreferenceQuery(RowQuery):
    """The filters of preferences."""

    texts: bool = Field(False, description="Include the messages and the completions' texts.")


class ComparisonsOut(BaseModel):
    """A page of comparisons, oldest first."""

    comparisons: list[ComparisonRow]
    next: str | None = Field(description="The cursor of the next page; null at the end.")


class JudgmentsOut(BaseModel):
    """A page of judgments, oldest first."""

    judgments: list[JudgmentRow]
    next: str | None = Field(description="The cursor of the next page; null at the end.")


class PreferencesOut(BaseModel):
    """A page of preferences, oldest first; it may be short, or empty, before the end."""

    preferences: list[PreferenceRow]
    next: str | None = Field(description="The cursor of the next page; null at the end.")


@router.get("/comparisons", response_model=ComparisonsOut, responses=_LINES_OUT)
def list_comparisons(
    request: Request, access: LeadAccess, query: Annotated[ComparisonQuery, Query()]
) -> Response:
    """Return comparisons with their completions, oldest first."""
    chosen = query.selection(access)

    def read(session: Session, cursor: str, limit: int) -> RowPage[ComparisonRow]:
        return comparison_rows.page(
            session, chosen, state=query.state, texts=query.texts, cursor=cursor, limit=limit
        )

    return _answer(request, access, query, read, ComparisonRow, ComparisonsOut)


@router.get("/judgments/all", response_model=JudgmentsOut, responses=_LINES_OUT)
def list_judgments(
    request: Request, access: LeadAccess, query: Annotated[JudgmentQuery, Query()]
) -> Response:
    """Return everybody's judgments with their state, oldest first."""
    chosen = query.selection(access)

    def read(session: Session, cursor: str, limit: int) -> RowPage[JudgmentRow]:
        return judgment_rows.page(session, chosen, state=query.state, cursor=cursor, limit=limit)

    return _answer(request, access, query, read, JudgmentRow, JudgmentsOut)


@router.get("/preferences", response_model=PreferencesOut, responses=_LINES_OUT)
def list_preferences(
    request: Request, access: LeadAccess, query: Annotated[PreferenceQuery, Query()]
) -> Response:
    """Return the pairs that each judgment that counts implies, oldest first."""
    chosen = query.selection(access)

    def read(session: Session, cursor: str, limit: int) -> RowPage[PreferenceRow]:
        return preference_rows.page(session, chosen, texts=query.texts, cursor=cursor, limit=limit)

    return _answer(request, access, query, read, PreferenceRow, PreferencesOut)


def _answer(
    request: Request,
    access: ProjectAccess,
    query: RowQuery,
    read: ReadPage,
    row: type,
    page_out: type[BaseModel],
) -> Response:
    if query.format == "jsonl" or LINES in request.headers.get("accept", ""):
        first = read(access.session, query.cursor, MOST)
        lines = _lines(database(request), read, first, TypeAdapter(row))
        return StreamingResponse(lines, media_type=LINES)
    found = read(access.session, query.cursor, query.limit)
    # The rows are dataclasses already; to validate them once more would only take time.
    fields: dict[str, Any] = dict(zip(page_out.model_fields, (found.rows, found.next), strict=True))
    out = page_out.model_construct(None, **fields)
    return Response(out.model_dump_json(), media_type="application/json")


def _lines(
    source: Database, read: ReadPage, first: RowPage[Any], row: TypeAdapter[Any]
) -> Iterator[bytes]:
    found = first
    while True:
        yield b"".join(row.dump_json(each) + b"\n" for each in found.rows)
        if found.next is None:
            return
        with source.reader() as session:
            found = read(session, found.next, MOST)
