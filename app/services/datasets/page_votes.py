"""The votes on a page of comparisons: those that count, as values, and a count of the others."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Text, case, select, type_coerce
from sqlalchemy.orm import InstrumentedAttribute, Session

from app.db import bulk
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
_NO_DETAILS: tuple[Any, ...] = ((), "", (), (), None, None, 0)


def read(
    session: Session,
    project_id: int,
    comparison_ids: Sequence[int],
    counts: Counts,
    weights: Mapping[str, float],
    *,
    with_details: bool,
) -> dict[int, list[Voted]]:
    """Return the votes that count by comparison; count the others as excluded."""
    pseudonyms = _pseudonyms(session, project_id)
    query = (
        select(*_SAID, *(_DETAILS if with_details else ()))
        .where(
            _judgment.project_id == project_id,
            _judgment.is_current,
            among(session, _judgment.comparison_id, comparison_ids),
        )
        .order_by(_judgment.id)
    )
    votes: dict[int, list[Voted]] = {id: [] for id in comparison_ids}
    for row in session.execute(query).all():
        id, comparison_id, labeler_id, is_retraction, is_surplus, preferred, ranks, ratings, *_ = (
            row
        )
        own = votes.get(comparison_id)
        if own is None:
            continue
        counts.judgments.considered += 1
        if is_retraction or is_surplus:  # as in `counted_judgments.fills_slot`
            counts.judgments.exclude(
                judged_comparisons.RETRACTED if is_retraction else judged_comparisons.SURPLUS
            )
            continue
        if ratings is not None:
            ratings = parsed(ratings)
        ranking = implied_rankings.of_values(preferred, parsed(ranks), ratings, weights)
        strength, both_bad, text, thumb, version, margin, instruction_version = row[8:15]
        flags, comment, shown, reasons, started, submitted, ms = row[15:] or _NO_DETAILS
        own.append(
            Voted(
                id,
                pseudonyms.get(labeler_id) or "L0",
                ranking,
                strength,
                both_bad,
                ratings,
                text,
                tuple(flags),
                comment,
                tuple(shown),
                version,
                started,
                submitted,
                ms,
                thumb,
                tuple(reasons),
                margin,
                instruction_version,
            )
        )
    return votes


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
