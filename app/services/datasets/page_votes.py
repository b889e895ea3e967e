"""The votes on a page of comparisons: those that count, as values, and a count of the others."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Text, case, select, type_coerce
from sqlalchemy.orm import InstrumentedAttribute, Session

from app.db import bulk
from app.domain.judged_by import JudgedBy
from app.formats.manifest import Counts
from app.models import Judgment, Membership
from app.services.datasets import implied_rankings, judged_comparisons
from app.services.datasets.judged_comparisons import Voted

_judgment = Judgment.__table__.c

_is_no_pick = _judgment.preferred.is_(None)
_SAID = (
    *(_judgment.id, _judgment.comparison_id, _judgment.labeler_id),
    *(_judgment.is_retraction, _judgment.is_surplus, _judgment.preferred),
    # A pick has neither ranks nor ratings. To parse its nulls would take longer than all the rest.
    type_coerce(case((_is_no_pick, _judgment.ranking)), Text),
    type_coerce(case((_is_no_pick, _judgment.ratings)), Text),
    *(_judgment.strength, _judgment.both_bad, _judgment.text, _judgment.thumb),
    *(_judgment.guidelines_version, _judgment.margin, _judgment.instruction_version),
)
_DETAILS = (
    *(_judgment.flags, _judgment.comment, _judgment.shown_order, _judgment.reasons),
    *(_judgment.started_at, _judgment.submitted_at, _judgment.active_ms),
)


_make = Voted._make


def read(
    session: Session,
    project_id: int,
    comparison_ids: Sequence[int],
    counts: Counts,
    weights: Mapping[str, float],
    *,
    with_details: bool,
    judged_by: JudgedBy,
) -> dict[int, list[Voted]]:
    """Return the votes that count by comparison; count the others as excluded."""
    names = _pseudonyms(session, project_id)
    query = (
        select(*_SAID, *(_DETAILS if with_details else ()))
        .where(
            _judgment.project_id == project_id,
            _judgment.is_current,
            among(session, _judgment.comparison_id, comparison_ids),
        )
        .order_by(_judgment.comparison_id, _judgment.id)  # the order of the index
    )
    votes: dict[int, list[Voted]] = {id: [] for id in comparison_ids}
    considered = 0
    for row in session.execute(query).all():
        own = votes.get(row[1])
        if own is None:
            continue
        considered += 1
        if row[3] or row[4]:  # as in `counted_judgments.fills_slot`
            reason = judged_comparisons.RETRACTED if row[3] else judged_comparisons.SURPLUS
            counts.judgments.exclude(reason)
        elif not judged_by.has_people:
            counts.judgments.exclude(judged_comparisons.BY_PERSON)
        else:
            own.append(_voted(names, weights, *row))
    counts.judgments.considered += considered
    return votes


def _voted(
    names: Mapping[int, str],
    weights: Mapping[str, float],
    id: int,
    _comparison_id: int,
    labeler_id: int,
    _is_retraction: bool,
    _is_surplus: bool,
    preferred: str | None,
    ranks: Any,
    ratings: Any,
    strength: int | None,
    both_bad: bool,
    text: str | None,
    thumb: str | None,
    version: int,
    margin: float | None,
    instruction_version: int,
    flags: Sequence[str] = (),
    comment: str = "",
    shown: Sequence[int] = (),
    reasons: Sequence[str] = (),
    started: datetime | None = None,
    submitted: datetime | None = None,
    ms: int = 0,
) -> Voted:
    """Return a row as a vote; the last of its columns are read only for formats that need them."""
    if preferred is not None:
        ranking = implied_rankings.PICKED[preferred]
    else:
        ratings = parsed(ratings)
        ranking = implied_rankings.of_values(None, parsed(ranks), ratings, weights)
    # Half the time of naming the fields one by one.
    return _make(
        (
            *(id, names.get(labeler_id) or "L0", ranking, strength, both_bad, ratings, text),
            *(tuple(flags), comment, tuple(shown), version, started, submitted, ms, thumb),
            *(tuple(reasons), margin, instruction_version, False),
        )
    )


def among(
    session: Session,
    column: "ColumnElement[int] | InstrumentedAttribute[int]",
    ids: Sequence[int],
) -> ColumnElement[bool]:
    """Return the condition that a column holds one of the ascending ids, or one between them.

    A dense page is read as a range: a list of thousands of parameters costs more than the rows. The
    caller passes over what belongs to no id.
    """
    if ids[-1] - ids[0] < 2 * len(ids):
        return column.between(ids[0], ids[-1])
    return bulk.among(session, column, ids)


def parsed(value: Any) -> Any:
    """Return a JSON value that the driver has left as text, as SQLite's does."""
    return json.loads(value) if isinstance(value, str) else value


def _pseudonyms(session: Session, project_id: int) -> dict[int, str]:
    query = select(Membership.user_id, Membership.pseudonym)
    return dict(session.execute(query.where(Membership.project_id == project_id)).all())
