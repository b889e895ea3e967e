"""Bodies of judgments: checked against what the comparison asks for, and stored as columns."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.domain import chat_settings
from app.domain.judgment_kinds import KINDS, JudgmentBody, JudgmentKind, Rules, check
from app.domain.remarks import check_remarks
from app.models import Comparison, ComparisonCompletion, Completion, Judgment, Project
from app.services.project import criteria

_SINGLE_COLUMNS = ("preferred", "strength", "ranking", "ratings", "thumb", "text")


def rules_of(
    project: Project,
    kind: JudgmentKind,
    k: int,
    *,
    criteria: Mapping[str, str] | None = None,
    original: str | None = None,
) -> Rules:
    """Return what a comparison of this kind with k completions asks for."""
    return Rules(
        str(kind),
        k,
        project.strength_steps,
        project.allow_tie,
        project.allow_both_bad,
        project.rating_max,
        criteria or {},
        original,
    )


def criteria_of(session: Session, project_id: int, kind: JudgmentKind) -> dict[str, str]:
    """Return the name and help of each criterion that a comparison of this kind is rated on."""
    if not KINDS[kind].uses_criteria:
        return {}
    return {criterion.name: criterion.help for criterion in criteria.active(session, project_id)}


def checked(
    session: Session, project: Project, comparison: Comparison, k: int, body: JudgmentBody
) -> JudgmentBody:
    """Return a body as it is stored, checked against what its comparison asks for.

    Raises:
        Invalid: the body breaks a rule.
    """
    kind = JudgmentKind(comparison.kind)
    rules = rules_of(
        project,
        kind,
        k,
        criteria=criteria_of(session, project.id, kind),
        original=_original(session, comparison) if KINDS[kind].is_preferred_text else None,
    )
    return check(rules, body)


def columns(
    session: Session,
    project: Project,
    comparison: Comparison,
    k: int,
    body: JudgmentBody,
    flags: Sequence[str],
    comment: str,
) -> dict[str, Any]:
    """Return a judgment's columns for a body, its flags and its comment, all of them checked.

    Raises:
        Invalid: one of them breaks a rule.
    """
    check_remarks(flags, comment)
    empty: dict[str, Any] = dict.fromkeys(_SINGLE_COLUMNS) | {"reasons": [], "both_bad": False}
    content = checked(session, project, comparison, k, body).to_json()
    return empty | content | {"flags": sorted(set(flags)), "comment": comment.strip()}


def body_of(judgment: Judgment) -> JudgmentBody:
    """Return a judgment's body as it was given."""
    content = {name: getattr(judgment, name) for name in (*_SINGLE_COLUMNS, "reasons", "both_bad")}
    return KINDS[judgment.kind].body.from_json(content)


def digest(assignment_id: int, body: JudgmentBody, flags: Sequence[str], comment: str) -> str:
    """Return the hash of a submission's content, which tells a replay from another submission."""
    content = body.digest_content() | {
        "kind": body.kind,
        "flags": sorted(flags),
        "comment": comment,
        "assignment": assignment_id,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _original(session: Session, comparison: Comparison) -> str | None:
    text = session.scalar(
        select(Completion.text)
        .join(ComparisonCompletion, ComparisonCompletion.completion_id == Completion.id)
        .where(ComparisonCompletion.comparison_id == comparison.id)
    )
    mark = session.get_one(Project, comparison.project_id).chat["thought_end"]
    return None if text is None else chat_settings.without_reasoning(text, mark)
