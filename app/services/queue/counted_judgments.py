"""Which judgments count: the only place that defines the conditions.

A judgment *stands* if it is its assignment's current revision and not a retraction. It *fills a
slot* if it also came in time to be one of the judgments that its comparison asks for; later ones
are kept as surplus. It *counts* if, in addition, its comparison is not withdrawn. Agreement,
evaluations, exports and training use judgments that count; a labeler's own history, progress and
statistics use all that stand. Flags exclude nothing.
"""

from datetime import datetime

from sqlalchemy import ColumnElement, and_, exists, text
from sqlalchemy.orm import Session, aliased

from app.models import Comparison, Judgment


def stands(
    judgment: type[Judgment] = Judgment, *, as_of: datetime | None = None
) -> ColumnElement[bool]:
    """Return the condition that a judgment stands, or stood at a moment.

    Args:
        judgment: `Judgment` or an alias of it.
        as_of: the moment; None for now.
    """
    is_current = judgment.is_current if as_of is None else _was_current(judgment, as_of)
    return and_(is_current, ~judgment.is_retraction)


def fills_slot(*, as_of: datetime | None = None) -> ColumnElement[bool]:
    """Return the condition that a judgment is one of those that its comparison asks for."""
    return and_(stands(as_of=as_of), ~Judgment.is_surplus)


def counts(*, as_of: datetime | None = None) -> ColumnElement[bool]:
    """Return the condition that a judgment counts; the statement joins `Comparison`."""
    return and_(fills_slot(as_of=as_of), ~Comparison.is_withdrawn)


def is_flagged(session: Session, project_id: int) -> ColumnElement[bool]:
    """Return the condition that a labeler flagged something in a judgment of the project."""
    nothing = "'[]'" if session.get_bind().dialect.name == "sqlite" else "'[]'::jsonb"
    return _by_index(session, project_id, "ix_judgment_flagged", f"flags <> {nothing}")


def has_text(session: Session, project_id: int) -> ColumnElement[bool]:
    """Return the condition that a judgment of the project is a text."""
    return _by_index(session, project_id, "ix_judgment_text", "text IS NOT NULL")


def is_standing(judgment: Judgment) -> bool:
    """Return whether a judgment stands, as defined by `stands`."""
    return judgment.is_current and not judgment.is_retraction


def is_filling_slot(judgment: Judgment) -> bool:
    """Return whether a judgment fills a slot, as defined by `fills_slot`."""
    return is_standing(judgment) and not judgment.is_surplus


def _was_current(judgment: type[Judgment], as_of: datetime) -> ColumnElement[bool]:
    later = aliased(Judgment)
    return (judgment.submitted_at <= as_of) & ~exists().where(
        later.assignment_id == judgment.assignment_id,
        later.revision > judgment.revision,
        later.submitted_at <= as_of,
    )


def _by_index(session: Session, project_id: int, index: str, condition: str) -> ColumnElement[bool]:
    """Return the condition of a partial index, which SQLite would not choose by itself."""
    hint = f"INDEXED BY {index} " if session.get_bind().dialect.name == "sqlite" else ""
    query = text(f"SELECT id FROM judgment {hint}WHERE project_id = :of_project AND {condition}")
    return Judgment.id.in_(query.bindparams(of_project=project_id).columns(Judgment.id))
