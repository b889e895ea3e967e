"""Filters and cursors shared by the lists of comparisons, judgments and preferences.

Names that people use, a round's number and a labeler's pseudonym, are looked up once; the pages of
a list then filter by ids. Rows are read as columns, in the order of their keys.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from app.domain.digits import number_of
from app.domain.judgment_kinds import JudgmentKind
from app.errors import Invalid, NotFound
from app.models import (
    Comparison,
    ComparisonCompletion,
    Completion,
    Judgment,
    Membership,
    Prompt,
    Purpose,
    Round,
    Split,
)
from app.services.project import prompt_search

MOST = 1_000

Listed = TypeVar("Listed")


@dataclass(frozen=True, slots=True)
class RowFilter:
    """Which rows to list; None and empty mean all.

    `source`, `category`, `tag` and `split` are of the prompt, `model` is the source of one of the
    completions. `labeler` is a pseudonym and `version` one of the guidelines; comparisons match if
    they have a current judgment of both. `since` is included and `until` is not; they apply to
    when a comparison was created, or a judgment submitted.
    """

    round: int | None = None
    purpose: Purpose | None = None
    kind: JudgmentKind | None = None
    split: Split | None = None
    source: str = ""
    category: str = ""
    tag: str = ""
    model: str = ""
    labeler: str = ""
    version: int | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class RowSelection:
    """A filter whose names have been looked up."""

    project_id: int
    filter: RowFilter
    round_id: int | None
    labeler_id: int | None


@dataclass(frozen=True, slots=True)
class RowPage(Generic[Listed]):
    """Some rows, and the cursor of the next page; None at the end."""

    rows: Sequence[Listed]
    next: str | None


def resolve(session: Session, project_id: int, asked: RowFilter) -> RowSelection:
    """Look up the round and the labeler of a filter.

    Raises:
        NotFound: the project has no such round or labeler.
        Invalid: the end is not after the start.
    """
    if asked.since and asked.until and asked.until <= asked.since:
        raise Invalid(f"until must be after since, {asked.since.isoformat()}")
    round_id = labeler_id = None
    if asked.round is not None:
        numbered = select(Round.id).where(
            Round.project_id == project_id, Round.number == asked.round
        )
        round_id = session.scalar(numbered)
        if round_id is None:
            raise NotFound(f"there is no round {asked.round} in this project")
    if asked.labeler:
        named = select(Membership.user_id).where(
            Membership.project_id == project_id, Membership.pseudonym == asked.labeler
        )
        labeler_id = session.scalar(named)
        if labeler_id is None:
            raise NotFound(f"there is no labeler {asked.labeler!r} in this project")
    return RowSelection(project_id, asked, round_id, labeler_id)


def of_comparisons(chosen: RowSelection) -> list[ColumnElement[bool]]:
    """Return the conditions on a comparison and its prompt that every list shares."""
    asked = chosen.filter
    matching: list[ColumnElement[bool]] = []
    if chosen.round_id is not None:
        matching.append(Comparison.round_id == chosen.round_id)
    if asked.purpose is not None:
        matching.append(Comparison.purpose == asked.purpose)
    if asked.kind is not None:
        matching.append(Comparison.kind == asked.kind)
    if asked.split is not None:
        matching.append(Prompt.split == asked.split)
    if asked.source:
        matching.append(Prompt.source == asked.source)
    if asked.category:
        matching.append(prompt_search.has_category(asked.category))
    if asked.tag:
        matching.append(prompt_search.has_tag(chosen.project_id, asked.tag))
    if asked.model:
        matching.append(_has_model(chosen.project_id, asked.model))
    return matching


def of_judgments(chosen: RowSelection) -> list[ColumnElement[bool]]:
    """Return the conditions on a judgment and its comparison."""
    asked = chosen.filter
    matching = [Judgment.project_id == chosen.project_id, *of_comparisons(chosen)]
    if chosen.labeler_id is not None:
        matching.append(Judgment.labeler_id == chosen.labeler_id)
    if asked.version is not None:
        matching.append(Judgment.guidelines_version == asked.version)
    if asked.since is not None:
        matching.append(Judgment.submitted_at >= asked.since)
    if asked.until is not None:
        matching.append(Judgment.submitted_at < asked.until)
    return matching


def labeler_name(pseudonym: str | None, labeler_id: int) -> str:
    """Return a labeler's pseudonym; former members have lost theirs."""
    return pseudonym or f"former member {labeler_id}"


def key_of(cursor: str) -> int:
    """Return the key after which a page begins.

    Raises:
        Invalid: it is not a cursor.
    """
    if not cursor:
        return 0
    key = number_of(cursor)
    if key is None:
        raise Invalid(f"a cursor is what a page returned as `next`, not {cursor!r}")
    return key


def _has_model(project_id: int, model: str) -> ColumnElement[bool]:
    theirs = (
        select(ComparisonCompletion.comparison_id)
        .join(Completion, Completion.id == ComparisonCompletion.completion_id)
        .where(Completion.project_id == project_id, Completion.source == model)
    )
    return Comparison.id.in_(theirs)
