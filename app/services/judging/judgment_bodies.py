"""What was answered, between the domain's bodies and a judgment's columns."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.domain.answers import (
    Body,
    EditBody,
    PickBody,
    RankBody,
    RateBody,
    Rules,
    ThumbsBody,
    WriteBody,
    check,
    check_remarks,
)
from app.domain.ranking import Pick, Ranking
from app.models import (
    Comparison,
    ComparisonCompletion,
    Completion,
    Judgment,
    JudgmentKind,
    Project,
)
from app.services.project import criteria


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
    if kind != JudgmentKind.RATE:
        return {}
    return {one.name: one.help for one in criteria.active(session, project_id)}


def columns(
    session: Session,
    project: Project,
    comparison: Comparison,
    k: int,
    body: Body,
    flags: Sequence[str],
    comment: str,
) -> dict[str, Any]:
    """Return a judgment's columns for an answer, checked against what the comparison asks.

    Raises:
        Invalid: the answer breaks a rule.
    """
    check_remarks(flags, comment)
    kind = JudgmentKind(comparison.kind)
    rules = rules_of(
        project,
        kind,
        k,
        criteria=criteria_of(session, project.id, kind),
        original=_original(session, comparison) if kind is JudgmentKind.EDIT else None,
    )
    answer = check(rules, body)
    order, ratings = answer.order, answer.ratings
    return {
        "preferred": str(order.preferred) if isinstance(order, Pick) else None,
        "strength": order.strength and int(order.strength) if isinstance(order, Pick) else None,
        "ranking": list(order.ranks) if isinstance(order, Ranking) else None,
        "ratings": ratings and {name: list(given) for name, given in ratings.items()},
        "thumb": answer.thumb,
        "reasons": list(answer.reasons),
        "text": answer.text,
        "both_bad": answer.both_bad,
        "flags": sorted(set(flags)),
        "comment": comment.strip(),
    }


def body_of(judgment: Judgment) -> Body:
    """Return a judgment's answer as it was given."""
    match JudgmentKind(judgment.kind):
        case JudgmentKind.PICK:
            return PickBody(judgment.preferred, judgment.strength, judgment.both_bad)
        case JudgmentKind.RANK:
            ranking = judgment.ranking
            return RankBody(None if ranking is None else tuple(ranking), judgment.both_bad)
        case JudgmentKind.RATE:
            return RateBody({name: tuple(of) for name, of in (judgment.ratings or {}).items()})
        case JudgmentKind.THUMBS:
            return ThumbsBody(judgment.thumb or "", tuple(judgment.reasons))
        case JudgmentKind.WRITE:
            return WriteBody(judgment.text or "")
        case JudgmentKind.EDIT:
            return EditBody(judgment.text or "")


def digest(assignment_id: int, body: Body, flags: Sequence[str], comment: str) -> str:
    """Return the hash of what was said, by which a replay is told from another submission."""
    said: dict[str, Any] = {
        "kind": body.kind,
        "flags": sorted(flags),
        "comment": comment,
        "assignment": assignment_id,
    }
    match body:
        case PickBody():
            said |= {"preferred": body.preferred, "strength": body.strength}
            said |= {"both_bad": body.both_bad}
        case RankBody():
            said |= {"ranking": body.ranking and list(body.ranking), "both_bad": body.both_bad}
        case RateBody():
            said |= {"ratings": {name: list(given) for name, given in body.ratings.items()}}
        case ThumbsBody():
            said |= {"thumb": body.thumb, "reasons": sorted(body.reasons)}
        case WriteBody() | EditBody():
            said |= {"text": body.text}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def _original(session: Session, comparison: Comparison) -> str | None:
    return session.scalar(
        select(Completion.text)
        .join(ComparisonCompletion, ComparisonCompletion.completion_id == Completion.id)
        .where(ComparisonCompletion.comparison_id == comparison.id)
    )
