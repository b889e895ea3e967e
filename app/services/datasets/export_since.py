"""Incremental exports: only comparisons that were judged or settled after a moment.

The moment is given, or it is that of an earlier export. A changed or retracted judgment counts as a
new one, so the rows of its comparison are exported again as they are now.
"""

from datetime import datetime

from sqlalchemy import ColumnElement, exists, func, or_, select
from sqlalchemy.orm import Session

from app.domain.judged_by import JudgedBy
from app.models import Adjudication, AiJudgment, Comparison, Demonstration, Judgment, Prompt
from app.services.datasets.judged_comparisons import ExportOptions
from app.services.project import prompt_search

UNCHANGED = "comparison not judged or settled since then"
OLDER = "imported before then"


def changed(moment: datetime, judged_by: JudgedBy = JudgedBy.HUMAN) -> ColumnElement[bool]:
    """Return the condition that a comparison was judged or settled after a moment.

    Votes of files may name an earlier time, so a comparison that is newer itself qualifies, too.
    """
    return or_(
        Comparison.created_at > moment,
        exists()
        .where(Judgment.comparison_id == Comparison.id, Judgment.submitted_at > moment)
        .correlate(Comparison),
        exists()
        .where(Adjudication.comparison_id == Comparison.id, Adjudication.created_at > moment)
        .correlate(Comparison),
        *([_judged_by_ai(moment)] if judged_by.has_judges else []),
    )


def _judged_by_ai(moment: datetime) -> ColumnElement[bool]:
    judged = AiJudgment.comparison_id == Comparison.id
    return exists().where(judged, AiJudgment.created_at > moment).correlate(Comparison)


def count_older_demonstrations(session: Session, project_id: int, options: ExportOptions) -> int:
    """Count the imported demonstrations that an export leaves out because they are older."""
    if options.since is None:
        return 0
    query = (
        select(func.count(Demonstration.id))
        .join(Prompt, Prompt.id == Demonstration.prompt_id)
        .where(
            Demonstration.project_id == project_id,
            Demonstration.created_at <= options.since,
            Prompt.split.in_(options.splits),
            *prompt_search.is_labelled(project_id, options.categories, options.tags),
        )
    )
    return session.scalar(query) or 0
