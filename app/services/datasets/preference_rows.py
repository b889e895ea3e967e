"""Preferences as rows of a list: the pairs that each judgment that counts implies.

Judgments are not aggregated and settlements not applied; exports do both. Thumbs, written text and
"both bad" imply no preference. Ratings imply one by the weighted mean of the criteria.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.domain.judgment_kinds import KINDS, JudgmentKind
from app.errors import Invalid
from app.models import Comparison, Judgment, Membership, Prompt, Purpose, Round, Split
from app.services.datasets import comparison_rows, judged_comparisons, row_filters
from app.services.datasets.comparison_rows import CompletionInRow
from app.services.datasets.implied_rankings import ranking_of
from app.services.datasets.row_filters import RowPage, RowSelection
from app.services.project import criteria
from app.services.queue import counted_judgments

IMPLYING = tuple(name for name, kind in KINDS.items() if kind.is_ordering or kind.is_preferred_text)
_OF_JUDGMENT = (
    *("id", "comparison_id", "kind", "labeler_id", "preferred", "strength", "ranking", "ratings"),
    *("text", "guidelines_version", "submitted_at"),
)

Members = tuple[CompletionInRow, ...]


@dataclass(frozen=True, slots=True)
class PreferenceRow:
    """A pair of completions that a judgment puts in an order, or finds equally good.

    `number` counts the pairs of the judgment from 0. In a tie, the order of the two says nothing.
    """

    judgment_id: int
    number: int
    comparison_id: int
    prompt_id: int
    round: int | None
    kind: JudgmentKind
    purpose: Purpose
    split: Split
    source: str
    category: str
    labeler: str
    guidelines_version: int
    submitted_at: datetime
    strength: int | None
    is_tie: bool
    chosen: CompletionInRow
    rejected: CompletionInRow
    messages: list[dict[str, Any]] | None = None


def page(
    session: Session,
    chosen: RowSelection,
    *,
    texts: bool = False,
    cursor: str = "",
    limit: int = row_filters.MOST,
) -> RowPage[PreferenceRow]:
    """Return preferences in the order their judgments were recorded.

    A page may have fewer rows than the limit, even none, before the last.
    """
    judgment_id, number = _place(cursor)
    judgments = _judgments(session, chosen, judgment_id, texts, limit)
    ids = sorted({found.comparison_id for found in judgments})
    members = comparison_rows.completions(session, ids, texts=texts)
    weights = criteria.weights(session, chosen.project_id)
    model = chosen.filter.model
    implied = (
        row
        for found in judgments
        for row in _implied(found, members.get(found.comparison_id, ()), weights)
        if (row.judgment_id, row.number) >= (judgment_id, number)
        and (not model or model in (row.chosen.model, row.rejected.model))
    )
    rows = list(islice(implied, limit + 1))
    if len(rows) > limit:
        return RowPage(rows[:limit], f"{rows[limit].judgment_id}.{rows[limit].number}")
    is_last = len(judgments) < limit
    return RowPage(rows, None if is_last else f"{judgments[-1].id + 1}.0")


def _place(cursor: str) -> tuple[int, int]:
    """Return the judgment and the number of its pair at which a page begins."""
    if not cursor:
        return 0, 0
    judgment_id, dot, number = cursor.partition(".")
    if not dot or not judgment_id or not number:
        raise Invalid(f"a cursor is what a page returned as `next`, not {cursor!r}")
    return row_filters.key_of(judgment_id), row_filters.key_of(number)


def _judgments(
    session: Session, chosen: RowSelection, start: int, texts: bool, limit: int
) -> list[Any]:
    member = (Membership.user_id == Judgment.labeler_id) & (
        Membership.project_id == chosen.project_id
    )
    query = (
        select(
            *(getattr(Judgment, name) for name in _OF_JUDGMENT),
            *(Comparison.prompt_id, Comparison.purpose),
            *(Prompt.split, Prompt.source, Prompt.category),
            *([Prompt.messages] if texts else []),
            Round.number.label("round"),
            Membership.pseudonym,
        )
        .join(Comparison, Comparison.id == Judgment.comparison_id)
        .join(Prompt, Prompt.id == Comparison.prompt_id)
        .join(Round, Round.id == Comparison.round_id, isouter=True)
        .join(Membership, member, isouter=True)
        .where(
            *row_filters.of_judgments(chosen),
            counted_judgments.counts(),
            Judgment.kind.in_(IMPLYING),
            Judgment.id >= start,
        )
        .order_by(Judgment.id)
        .limit(limit)
    )
    return list(session.execute(query))


def _implied(found: Any, members: Members, weights: Mapping[str, float]) -> Iterator[PreferenceRow]:
    if KINDS[JudgmentKind(found.kind)].is_preferred_text:
        if found.text is not None and members:
            edited = CompletionInRow(None, None, judged_comparisons.EDITED, None, None)
            if members[0].text is not None:
                edited = replace(edited, text=found.text, earlier=members[0].earlier)
            yield _row(found, 0, edited, members[0])
        return
    ranking = ranking_of(found, weights)
    if ranking is None:
        return
    for number, pair in enumerate(ranking.preferences()):
        yield _row(found, number, members[pair.preferred], members[pair.other], is_tie=pair.tie)


def _row(
    found: Any,
    number: int,
    better: CompletionInRow,
    worse: CompletionInRow,
    *,
    is_tie: bool = False,
) -> PreferenceRow:
    return PreferenceRow(
        judgment_id=found.id,
        number=number,
        comparison_id=found.comparison_id,
        prompt_id=found.prompt_id,
        round=found.round,
        kind=JudgmentKind(found.kind),
        purpose=Purpose(found.purpose),
        split=Split(found.split),
        source=found.source,
        category=found.category,
        labeler=row_filters.labeler_name(found.pseudonym, found.labeler_id),
        guidelines_version=found.guidelines_version,
        submitted_at=found.submitted_at,
        strength=found.strength,
        is_tie=is_tie,
        chosen=better,
        rejected=worse,
        messages=getattr(found, "messages", None),
    )
