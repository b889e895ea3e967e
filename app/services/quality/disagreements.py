"""The comparisons that two labelers judged differently."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Select, or_, select
from sqlalchemy.orm import Session, aliased

from app.models import Judgment, Membership
from app.services.datasets.implied_rankings import of_values
from app.services.project import criteria
from app.services.queue import counted_judgments


def between(session: Session, project_id: int, first: str, second: str) -> list[int]:
    """Return the comparisons on which two labelers disagree, the newest first.

    Labelers are named by pseudonym. As in the agreement figures, judgments without a preference are
    left out.
    """
    weights = criteria.weights(session, project_id)
    shared = session.execute(_shared(project_id, first, second))
    return [row[0] for row in shared if _differ(row, weights)]


def _shared(project_id: int, first: str, second: str) -> Select[Any]:
    """Return both judgments of what two labelers judged, without picks that are the same."""
    one, other = aliased(Judgment), aliased(Judgment)
    return (
        select(
            one.comparison_id,
            *(one.preferred, one.ranking, one.ratings),
            *(other.preferred, other.ranking, other.ratings),
        )
        .join(other, other.comparison_id == one.comparison_id)
        .where(
            one.project_id == project_id,
            one.labeler_id == _labeler(project_id, first),
            other.labeler_id == _labeler(project_id, second),
            *(counted_judgments.stands(judgment) for judgment in (one, other)),
            *(~judgment.is_surplus for judgment in (one, other)),
            or_(one.preferred.is_(None), one.preferred != other.preferred),
        )
        .order_by(one.comparison_id.desc())
    )


def _labeler(project_id: int, pseudonym: str) -> Any:
    return (
        select(Membership.user_id)
        .where(Membership.project_id == project_id, Membership.pseudonym == pseudonym)
        .scalar_subquery()
    )


def _differ(row: Any, weights: Mapping[str, float]) -> bool:
    first = of_values(row[1], row[2], row[3], weights)
    second = of_values(row[4], row[5], row[6], weights)
    return first is not None and second is not None and first != second
