"""Comparisons, judgments and preferences of a project: in pages, or all as a stream of lines.

A stream reads page by page, each in a short transaction of its own, so that its memory is bounded
and it never holds up labelers. Labelers appear under their pseudonyms.
"""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

from app.services.datasets import row_stream
from app.services.datasets.comparison_rows import ComparisonRow
from app.services.datasets.judgment_rows import JudgmentRow
from app.services.datasets.preference_rows import PreferenceRow
from app.services.datasets.row_filters import MOST
from app.services.datasets.row_queries import (
    LISTS,
    ComparisonQuery,
    JudgmentQuery,
    PreferenceQuery,
    RowQuery,
)
from app.web.deps import LeadAccess, ProjectAccess, database
from app.web.guarded_route import GuardedRoute

router = APIRouter(prefix="/api/v1/projects/{slug}", tags=["rows"], route_class=GuardedRoute)

LINES: Final = "application/x-ndjson"
_LINES_OUT: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "A page; with `format=jsonl`, or if the client accepts "
        f"`{LINES}`, one JSON object per line, with all rows from the cursor on.",
        "content": {LINES: {"schema": {"type": "string"}}},
    }
}


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
    return _answer(request, access, query, ComparisonsOut)


@router.get("/judgments/all", response_model=JudgmentsOut, responses=_LINES_OUT)
def list_judgments(
    request: Request, access: LeadAccess, query: Annotated[JudgmentQuery, Query()]
) -> Response:
    """Return everybody's judgments with their state, oldest first."""
    return _answer(request, access, query, JudgmentsOut)


@router.get("/preferences", response_model=PreferencesOut, responses=_LINES_OUT)
def list_preferences(
    request: Request, access: LeadAccess, query: Annotated[PreferenceQuery, Query()]
) -> Response:
    """Return the pairs that each judgment that counts implies, oldest first."""
    return _answer(request, access, query, PreferencesOut)


def _answer(
    request: Request, access: ProjectAccess, query: RowQuery, page_out: type[BaseModel]
) -> Response:
    chosen = query.selection(access.session, access.project.id)
    if query.format == "jsonl" or LINES in request.headers.get("accept", ""):
        read = query.reader(chosen, MOST)
        first = read(access.session, query.cursor)
        lines = row_stream.lines(database(request).reader, read, LISTS[type(query)].row, first)
        return StreamingResponse(lines, media_type=LINES)
    found = query.reader(chosen, query.limit)(access.session, query.cursor)
    # The rows are dataclasses already; to validate them once more would only take time.
    fields = {LISTS[type(query)].name: found.rows, "next": found.next}
    return Response(
        page_out.model_construct(None, **fields).model_dump_json(), media_type="application/json"
    )
