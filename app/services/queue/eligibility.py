"""Which labeler may judge which comparison, as conditions for other statements."""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, case, exists, false, literal_column, or_, select
from sqlalchemy.orm import aliased

from app.domain.judgment_kinds import WRITTEN_KINDS
from app.domain.states import AssignmentState
from app.models import (
    Assignment,
    Comparison,
    ComparisonCompletion,
    Completion,
    Demonstration,
    Judgment,
)
from app.services.queue import counted_judgments

# Written out, not bound: with a plan for any state, PostgreSQL would read every assignment to find
# that none is leased, because nearly all have the state that it takes for the likely one.
IS_LEASED: ColumnElement[bool] = Assignment.state == literal_column(
    f"'{AssignmentState.LEASED.value}'"
)
# Literals: with parameters, the planner could not use statistics about the states.
_EXPIRED: ColumnElement[str] = literal_column("'expired'")
_RELEASED: ColumnElement[str] = literal_column("'released'")
_ONE: ColumnElement[int] = literal_column("1")
_WRITTEN: list[ColumnElement[str]] = [literal_column(f"'{kind}'") for kind in WRITTEN_KINDS]


def is_live(project_id: Any, labeler_id: Any) -> ColumnElement[bool]:
    """Return the condition for leases that a labeler holds."""
    return and_(
        Assignment.labeler_id == labeler_id,
        Assignment.project_id == project_id,
        IS_LEASED,
    )


def may_judge(
    labeler_id: int | ColumnElement[int] | Any, *, one_by_one: bool = False
) -> ColumnElement[bool]:
    """Return the condition that a labeler may lease a comparison: not theirs, not judged yet.

    An expired or released lease does not count as judged; a retracted judgment does. Labelers judge
    neither a completion that they wrote nor others to a prompt that they wrote a response to; they
    may still write and edit for that prompt.

    With `one_by_one`, what excludes a comparison is looked up for each by itself, which suits a
    search that ends with the first one found. PostgreSQL would otherwise join, and read some 10,000
    comparisons with every claim to find that nobody writes responses.
    """
    only = Comparison.only_labeler_id
    is_for_them = only.is_(None) | (only == labeler_id)
    judged, wrote = _judged(labeler_id), list(_wrote(labeler_id))
    if not one_by_one:
        return and_(is_for_them, ~judged.exists(), *(~rows.exists() for rows in wrote))
    # An offset keeps a subquery as it is, and a CASE the order: of those that a labeler has judged,
    # of which there are many in a window, nothing else is asked.
    judged = judged.offset(literal_column("0"))
    is_theirs = or_(*(rows.offset(literal_column("0")).exists() for rows in wrote))
    return and_(is_for_them, case((judged.exists(), false()), else_=~is_theirs))


def _judged(labeler_id: int | ColumnElement[int] | Any) -> Select[int]:
    taken = aliased(Assignment, name="t")
    is_given_back = (taken.state == _RELEASED) & taken.ended_at.is_(None)
    return (
        select(_ONE)
        .where(
            taken.comparison_id == Comparison.id,
            taken.labeler_id == labeler_id,
            taken.state != _EXPIRED,
            ~is_given_back,
        )
        .correlate_except(taken)
    )


def _wrote(labeler_id: int | ColumnElement[int] | Any) -> Iterator[Select[int]]:
    member, written = aliased(ComparisonCompletion, name="m"), aliased(Completion, name="w")
    yield (
        select(_ONE)
        .where(
            member.comparison_id == Comparison.id,
            member.completion_id == written.id,
            written.author_id == labeler_id,
        )
        .correlate_except(member, written)
    )
    shown = aliased(Demonstration, name="d")
    is_judging = Comparison.kind.not_in(_WRITTEN)
    yield (
        select(_ONE)
        .where(
            is_judging,
            shown.prompt_id == Comparison.prompt_id,
            shown.author_id == labeler_id,
            shown.source == "",  # a file's demonstrations were brought, not written
        )
        .correlate_except(shown)
    )
    said, other = aliased(Judgment, name="j"), aliased(Comparison, name="o")
    # Nested, because SQLite would otherwise go through all judgments of the labeler each time.
    wrote = exists().where(
        said.comparison_id == other.id,
        said.labeler_id == labeler_id,
        counted_judgments.stands(said),
    )
    yield (
        select(_ONE)
        .where(
            is_judging,
            other.prompt_id == Comparison.prompt_id,
            other.kind.in_(_WRITTEN),
            wrote.correlate_except(said),
        )
        .correlate_except(other)
    )
