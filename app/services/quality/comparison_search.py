"""Comparisons of a project as a list: searched, filtered, or by the lowest agreement."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, TextClause, false, select, text
from sqlalchemy.orm import Session

from app.db import bulk
from app.domain import agreement, search_words
from app.models import (
    Adjudication,
    Comparison,
    Judgment,
    Prompt,
    Purpose,
    Round,
)
from app.services.project import criteria
from app.services.quality import disagreements
from app.services.quality.agreement import lowest, vote_of
from app.services.queue import comparison_words, counted_judgments
from app.services.queue.comparison_words import SearchedRows

PAGE = 40
ID_MOST = 2**63 - 1
ID_DIGITS = 20
_OF_STATE = {
    "withdrawn": "comparison.is_withdrawn",
    "open": "comparison.done_slots < comparison.overlap AND NOT comparison.is_withdrawn",
    "judged": "comparison.done_slots >= comparison.overlap AND NOT comparison.is_withdrawn",
}
"""The conditions as the partial indexes have them; SQLite uses an index only then."""


@dataclass(frozen=True, slots=True)
class ComparisonFilter:
    """The criteria of a search; `state` is open, judged, settled, flagged, low or withdrawn.

    `after` is the id that the page before ended with, in the order of the list; with state low,
    which has an order of its own, it is how many were shown.
    """

    purpose: Purpose | None = None
    round_number: int | None = None
    state: str = ""
    search: str = ""
    prompt_id: int | None = None
    after: int | None = None
    is_ascending: bool = False
    between: tuple[str, str] | None = None  # pseudonyms of two labelers who disagree

    @property
    def number(self) -> int | None:
        """The number of a comparison, if that is what is searched for."""
        search = self.search.strip()
        if not (search.isascii() and search.isdecimal()):
            return None
        return min(int(search[:ID_DIGITS]), ID_MOST)

    @property
    def words(self) -> str:
        """What is searched for in prompts and responses."""
        return "" if self.number is not None else self.search.strip()


@dataclass(frozen=True, slots=True)
class ListedComparison:
    """A comparison in a list. `agreement` is None if it has fewer than two votes."""

    comparison: Comparison
    prompt: Prompt
    round_number: int | None
    agreement: float | None
    is_settled: bool


@dataclass(frozen=True, slots=True)
class ListedComparisons:
    """A page of comparisons, and `after` of the next page, if there is one.

    `not_listed` counts further comparisons with low agreement, beyond those that are listed.
    """

    rows: tuple[ListedComparison, ...]
    after: int | None
    not_listed: int = 0


def page(
    session: Session, project_id: int, selection: ComparisonFilter, *, limit: int = PAGE
) -> ListedComparisons:
    """Return a page of comparisons by number; with state low, lowest agreement first."""
    if selection.state == "low":
        return _lowest_page(session, project_id, selection, limit)
    found = _first(session, project_id, selection, limit + 1)
    rows = _listed(session, project_id, found[:limit])
    return ListedComparisons(rows, found[limit - 1] if len(found) > limit else None)


def _first(session: Session, project_id: int, selection: ComparisonFilter, limit: int) -> list[int]:
    query = select(Comparison.id, Comparison.id, Comparison.prompt_id).where(
        *_conditions(session, project_id, selection)
    )
    rows = SearchedRows(Comparison.id, query, selection.after, selection.is_ascending)
    if selection.words:
        terms = search_words.parse(selection.words)
        return comparison_words.newest(session, project_id, rows, terms, limit=limit)
    return [key for key, _, _ in session.execute(rows.listed.limit(limit))]


def _lowest_page(
    session: Session, project_id: int, selection: ComparisonFilter, limit: int
) -> ListedComparisons:
    """Return a page of the comparisons with the lowest agreement; `after` counts those shown."""
    low = lowest(session, project_id)
    place = {comparison_id: at for at, (comparison_id, _) in enumerate(low.rows)}
    start = selection.after or 0
    query = select(Comparison.id, Comparison.id, Comparison.prompt_id).where(
        Comparison.id.in_(place), *_conditions(session, project_id, selection)
    )
    if selection.words:
        matching = comparison_words.matching(session, query, search_words.parse(selection.words))
    else:
        matching = [key for key, _, _ in session.execute(query)]
    found = sorted(matching, key=place.__getitem__)
    settled_ids = _settled_ids(session, found)
    found.sort(key=settled_ids.__contains__)  # stable: the settled ones come last
    rows = _listed(session, project_id, found[start : start + limit])
    more = start + limit if start + limit < len(found) else None
    return ListedComparisons(rows, more, not_listed=low.total - len(low.rows))


def next_disputed(session: Session, project_id: int) -> int | None:
    """Return the unsettled comparison with the lowest agreement; None if all are settled.

    Raises:
        FigurePending: agreement is still being measured.
    """
    low = [comparison_id for comparison_id, _ in lowest(session, project_id).rows]
    settled_ids = _settled_ids(session, low)
    return next((comparison_id for comparison_id in low if comparison_id not in settled_ids), None)


def _listed(session: Session, project_id: int, ids: Sequence[int]) -> tuple[ListedComparison, ...]:
    """Return comparisons with their prompts and agreement, in the order of the ids."""
    query = (
        select(Comparison, Prompt, Round.number)
        .join(Prompt, Prompt.id == Comparison.prompt_id)
        .join(Round, Round.id == Comparison.round_id, isouter=True)
        .where(Comparison.id.in_(ids))
    )
    found = {row[0].id: row for row in session.execute(query)}
    agreed, settled_ids = agreements(session, project_id, ids), _settled_ids(session, ids)
    return tuple(
        ListedComparison(*found[name], agreed.get(name), name in settled_ids) for name in ids
    )


def _conditions(
    session: Session, project_id: int, selection: ComparisonFilter
) -> list[ColumnElement[bool] | TextClause]:
    conditions: list[ColumnElement[bool] | TextClause] = []
    if selection.round_number is None:
        conditions.append(Comparison.project_id == project_id)
    else:  # the round's own index, which SQLite would not prefer to that of the project
        conditions.append(_of_round(session, project_id, selection.round_number))
    if selection.purpose is not None:
        conditions.append(Comparison.purpose == selection.purpose)
    if selection.prompt_id is not None:
        conditions.append(Comparison.prompt_id == selection.prompt_id)
    if selection.between is not None:
        disputed = disagreements.between(session, project_id, *selection.between)
        conditions.append(bulk.among(session, Comparison.id, disputed))
    if selection.number is not None:
        conditions.append(Comparison.id == selection.number)
    conditions.append(text(_OF_STATE.get(selection.state, "NOT comparison.is_withdrawn")))
    if selection.state == "flagged":
        flagged = select(Judgment.comparison_id).where(
            counted_judgments.stands(), counted_judgments.is_flagged(session, project_id)
        )
        conditions.append(Comparison.id.in_(flagged))
    if selection.state == "settled":
        settled = select(Adjudication.comparison_id).where(
            Adjudication.project_id == project_id, Adjudication.is_current
        )
        conditions.append(Comparison.id.in_(settled))
    return conditions


def _of_round(session: Session, project_id: int, number: int) -> ColumnElement[bool]:
    known = select(Round.id).where(Round.project_id == project_id, Round.number == number)
    round_id = session.scalar(known)
    return false() if round_id is None else Comparison.round_id == round_id


def agreements(session: Session, project_id: int, ids: Sequence[int]) -> dict[int, float]:
    """Return the agreement on each of these comparisons that has two votes or more, by id."""
    weights = criteria.weights(session, project_id)
    query = (
        select(Judgment)
        .where(Judgment.comparison_id.in_(ids), counted_judgments.fills_slot())
        .order_by(Judgment.id)
    )
    votes = (vote_of(judgment, judgment.labeler_id, weights) for judgment in session.scalars(query))
    by_comparison = agreement.by_comparison(vote for vote in votes if vote is not None)
    return {int(str(name)): value for name, value in by_comparison.items()}


def _settled_ids(session: Session, ids: Sequence[int]) -> set[int]:
    query = select(Adjudication.comparison_id).where(
        Adjudication.comparison_id.in_(ids), Adjudication.is_current
    )
    return set(session.scalars(query))
