"""Settling disputed comparisons: a lead's word beside the votes, never one of them.

A settlement replaces the one before and keeps it. It can add an edge case to the guidelines, and
the comparison can be asked again under them.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from app.db import now
from app.domain.assignment import OVERLAP_MOST
from app.domain.ranking import Ranking, Side
from app.errors import Invalid, NotFound
from app.models import (
    Adjudication,
    Comparison,
    ComparisonCompletion,
    Guidelines,
    JudgmentKind,
    Project,
    Purpose,
)
from app.services.people import audit
from app.services.project import projects
from app.services.project.projects import GuidelinesText
from app.services.queue import comparisons

SETTLED = (JudgmentKind.PICK, JudgmentKind.RANK)
REASONS = {
    "ambiguous": "The prompt is ambiguous",
    "gap": "The guidelines have a gap",
    "mistake": "Somebody made a mistake",
    "edge_case": "An edge case",
    "taste": "A matter of taste",
}


def settle(
    session: Session,
    comparison: Comparison,
    *,
    reason: str,
    adjudicator_id: int,
    preferred: str | None = None,
    ranking: Sequence[int] | None = None,
    both_bad: bool = False,
    comment: str = "",
) -> Adjudication:
    """Say what a comparison's answer is, and why people disagreed.

    Raises:
        Invalid: an unknown reason, or an answer that does not fit the comparison.
    """
    if reason not in REASONS:
        raise Invalid(f"a settlement's reason is one of {', '.join(REASONS)}, not {reason!r}")
    _check(session, comparison, preferred, ranking, both_bad)
    session.execute(
        update(Adjudication)
        .where(Adjudication.comparison_id == comparison.id, Adjudication.is_current)
        .values(is_current=False)
    )
    row = Adjudication(
        project_id=comparison.project_id,
        comparison_id=comparison.id,
        adjudicator_id=adjudicator_id,
        is_current=True,
        preferred=preferred,
        ranking=None if ranking is None else list(ranking),
        both_bad=both_bad,
        reason=reason,
        comment=comment.strip(),
        guidelines_version=projects.guidelines(session, comparison.project_id).version,
        created_at=now(session),
    )
    session.add(row)
    session.flush()
    audit.record(
        session,
        "comparison.settle",
        f"comparison {comparison.id}",
        actor_id=adjudicator_id,
        project_id=comparison.project_id,
        details={"reason": reason},
    )
    return row


def add_edge_case(session: Session, project: Project, text: str, *, actor_id: int) -> Guidelines:
    """Publish a version of the guidelines with one edge case more.

    Raises:
        Invalid: the text is empty.
    """
    if not text.strip():
        raise Invalid("an edge case needs a sentence")
    newest = projects.guidelines(session, project.id)
    case = "- " + text.strip().removeprefix("- ")
    return projects.publish_guidelines(
        session,
        project,
        GuidelinesText(
            rules=newest.rules,
            edge_cases=f"{newest.edge_cases}\n{case}".strip(),
            body=newest.body,
            summary=f"Edge case: {text.strip()}"[:300],
        ),
        author_id=actor_id,
    )


def ask_again(session: Session, project: Project, comparison: Comparison) -> Comparison:
    """Put the same completions to labelers once more; the first comparison is withdrawn.

    Its judgments stay where they are and no longer count.
    """
    ids = _completion_ids(session, comparison.id)
    again = session.scalar(
        select(func.count()).where(
            Comparison.project_id == project.id,
            Comparison.natural_key.startswith(f"again-{comparison.id}-"),
        )
    )
    comparisons.withdraw(session, comparison.id)
    return comparisons.create(
        session,
        project,
        comparison.prompt_id,
        ids,
        kind=JudgmentKind(comparison.kind),
        purpose=comparison.purpose,
        round_id=comparison.round_id,
        evaluation_id=comparison.evaluation_id,
        overlap=comparison.overlap,
        priority=comparison.priority + 1,
        natural_key=f"again-{comparison.id}-{(again or 0) + 1}",
        seed=project.split_seed,
    )


def use_as(
    session: Session, project: Project, settled: Adjudication, purpose: Purpose
) -> Comparison:
    """Ask everybody a settled comparison, as gold or for practice; its settlement is the answer.

    The first comparison and its judgments stay as they are.

    Raises:
        Invalid: another purpose, or nothing but *both bad* was settled.
    """
    if purpose not in (Purpose.GOLD, Purpose.PRACTICE):
        raise Invalid(f"a settled comparison can become gold or practice, not {purpose}")
    answer: dict[str, Any] = {}
    if settled.preferred is not None:
        answer["preferred"] = settled.preferred
    if settled.ranking is not None:
        answer["ranking"] = list(settled.ranking)
    if not answer:
        answer["both_bad"] = settled.both_bad
    first = session.get_one(Comparison, settled.comparison_id)
    return comparisons.create(
        session,
        project,
        first.prompt_id,
        _completion_ids(session, first.id),
        kind=JudgmentKind(first.kind),
        purpose=purpose,
        overlap=OVERLAP_MOST,
        gold_answer=answer,
        gold_reason=settled.comment or REASONS.get(settled.reason, ""),
        natural_key=f"{purpose}-{first.id}",
        seed=project.split_seed,
    )


def current(session: Session, comparison_id: int) -> Adjudication:
    """Return the settlement in force.

    Raises:
        NotFound: the comparison is not settled.
    """
    found = session.scalar(
        select(Adjudication).where(
            Adjudication.comparison_id == comparison_id, Adjudication.is_current
        )
    )
    if found is None:
        raise NotFound(f"comparison {comparison_id} is not settled")
    return found


def _completion_ids(session: Session, comparison_id: int) -> list[int]:
    query = select(ComparisonCompletion.completion_id).where(
        ComparisonCompletion.comparison_id == comparison_id
    )
    return list(session.scalars(query.order_by(ComparisonCompletion.position)))


def _check(
    session: Session,
    comparison: Comparison,
    preferred: str | None,
    ranking: Sequence[int] | None,
    both_bad: bool,
) -> None:
    if comparison.kind not in SETTLED:
        raise Invalid(f"picks and rankings are settled, not kind {comparison.kind}")
    if comparison.kind == JudgmentKind.PICK:
        if preferred is None and not both_bad:
            raise Invalid("a settlement of a pick says a, b, tie or both bad")
        if preferred is not None and preferred not in tuple(Side):
            raise Invalid(f"preferred must be a, b or tie, not {preferred!r}")
        return
    if ranking is None:
        if not both_bad:
            raise Invalid("a settlement of a ranking gives each completion a rank")
        return
    k = session.scalar(
        select(func.count()).where(ComparisonCompletion.comparison_id == comparison.id)
    )
    if len(ranking) != k:
        raise Invalid(f"the ranking has {len(ranking)} places for {k} completions")
    Ranking(tuple(ranking))
