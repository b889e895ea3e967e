"""Requests for lists of comparisons, judgments and preferences, as text from outside.

The API and the command line take the same filters, checked here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session

from app.domain.judgment_kinds import JudgmentKind
from app.models import Purpose, Split
from app.services.datasets import comparison_rows, judgment_rows, preference_rows, row_filters
from app.services.datasets.comparison_rows import ComparisonRow, JudgingState
from app.services.datasets.judgment_rows import JudgmentRow, JudgmentState
from app.services.datasets.preference_rows import PreferenceRow
from app.services.datasets.row_filters import MOST, RowFilter, RowPage, RowSelection
from app.services.datasets.row_stream import ReadPage

_FILTERS: Final = (
    *("round", "purpose", "kind", "split", "source", "category", "tag", "model"),
    *("labeler", "version", "since", "until"),
)


@dataclass(frozen=True, slots=True)
class RowList:
    """A list: what it is called, how a page of it is read, and the type of its rows."""

    name: str
    page: Callable[..., RowPage[Any]]
    row: type


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

    def selection(self, session: Session, project_id: int) -> RowSelection:
        """Return the filters with their names looked up."""
        chosen = RowFilter(**{name: getattr(self, name) for name in _FILTERS})
        return row_filters.resolve(session, project_id, chosen)

    def reader(self, chosen: RowSelection, limit: int) -> ReadPage:
        """Return the function that reads a page of the list at a cursor."""
        fields = type(self).model_fields.keys() - RowQuery.model_fields
        own = {name: getattr(self, name) for name in fields}

        def read(session: Session, cursor: str) -> RowPage[Any]:
            return LISTS[type(self)].page(session, chosen, cursor=cursor, limit=limit, **own)

        return read


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


LISTS: Final[Mapping[type[RowQuery], RowList]] = {
    ComparisonQuery: RowList("comparisons", comparison_rows.page, ComparisonRow),
    JudgmentQuery: RowList("judgments", judgment_rows.page, JudgmentRow),
    PreferenceQuery: RowList("preferences", preference_rows.page, PreferenceRow),
}
"""The list that each request is for."""
