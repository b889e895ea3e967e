"""Adjudication: a lead settles a disputed comparison; the settlement never counts as a vote.

A new settlement replaces the previous one, which stays on record. A lead can also publish an edge
case for the guidelines, ask the comparison again, or reuse it as gold or for practice.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from app.db import now
from app.domain.assignment import OVERLAP_MOST
from app.domain.judgment_kinds import KINDS, JudgmentKind
from app.domain.ranking import Ranking, Side
from app.errors import Invalid, NotFound
from app.models import Adjudication, Comparison, ComparisonCompletion, Guidelines, Project, Purpose
from app.services.people import audit
from app.services.project import projects
from app.services.project.projects import GuidelinesText
from app.services.queue import comparisons

REASONS = {
    "ambiguous": "The prompt is ambiguous",
    "gap": "The guidelines have a gap",
    "mistake": "A labeler made a mistake",
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
    """Record the right judgment of a comparison, and why labelers disagreed.

    Raises:
        Invalid: the reason is unknown, or the settlement does not fit the comparison.
    """
    if not reason:
        raise Invalid("choose a reason for the disagreement")
    if reason not in REASONS:
        raise Invalid(f"reason must be one of {', '.join(REASONS)}, not {reason!r}")
    _check(session, comparison, preferred, ranking, both_bad)
    settlement = Adjudication(
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
    _replace_current(session, settlement)
    audit.record(
        session,
        "comparison.settle",
        f"comparison {comparison.id}",
        actor_id=adjudicator_id,
        project_id=comparison.project_id,
        details={"reason": reason},
    )
    return settlement


def add_edge_case(session: Session, project: Project, text: str, *, actor_id: int) -> Guidelines:
    """Publish a new version of the guidelines with one more edge case.

    Raises:
        Invalid: the text is empty.
    """
    if not text.strip():
        raise Invalid("the edge case is empty")
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
    """Create a new comparison of the same completions, and withdraw this one.

    The judgments of a withdrawn comparison stay on record but no longer count.
    """
    ids = _completion_ids(session, comparison.id)
    times_asked_again = session.scalar(
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
        natural_key=f"again-{comparison.id}-{(times_asked_again or 0) + 1}",
        seed=project.split_seed,
    )


def use_as(
    session: Session, project: Project, settled: Adjudication, purpose: Purpose
) -> Comparison:
    """Create a gold or practice comparison whose gold answer is this settlement.

    The settled comparison and its judgments do not change.

    Raises:
        Invalid: the purpose is neither gold nor practice.
    """
    if purpose not in (Purpose.GOLD, Purpose.PRACTICE):
        raise Invalid(f"a settled comparison can be used as gold or practice, not {purpose}")
    first = session.get_one(Comparison, settled.comparison_id)
    return comparisons.create(
        session,
        project,
        first.prompt_id,
        _completion_ids(session, first.id),
        kind=JudgmentKind(first.kind),
        purpose=purpose,
        overlap=OVERLAP_MOST,
        gold_answer=_gold_answer(settled),
        gold_reason=settled.comment or REASONS.get(settled.reason, ""),
        natural_key=f"{purpose}-{first.id}",
        seed=project.split_seed,
    )


def current(session: Session, comparison_id: int) -> Adjudication:
    """Return the current settlement of a comparison.

    Raises:
        NotFound: the comparison is not settled.
    """
    settlement = session.scalar(
        select(Adjudication).where(
            Adjudication.comparison_id == comparison_id, Adjudication.is_current
        )
    )
    if settlement is None:
        raise NotFound(f"comparison {comparison_id} is not settled")
    return settlement


def _replace_current(session: Session, settlement: Adjudication) -> None:
    session.execute(
        update(Adjudication)
        .where(Adjudication.comparison_id == settlement.comparison_id, Adjudication.is_current)
        .values(is_current=False)
    )
    session.add(settlement)
    session.flush()


def _gold_answer(settled: Adjudication) -> dict[str, Any]:
    answer: dict[str, Any] = {}
    if settled.preferred is not None:
        answer["preferred"] = settled.preferred
    if settled.ranking is not None:
        answer["ranking"] = list(settled.ranking)
    return answer or {"both_bad": settled.both_bad}


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
    if not KINDS[comparison.kind].is_ordering:
        raise Invalid(f"only picks and rankings can be settled, not kind {comparison.kind}")
    if comparison.kind == JudgmentKind.PICK:
        _check_pick(preferred, both_bad)
    else:
        _check_ranking(session, comparison.id, ranking, both_bad)


def _check_pick(preferred: str | None, both_bad: bool) -> None:
    if preferred is None and not both_bad:
        raise Invalid("choose which response is better, about the same, or both bad")
    if preferred is not None and preferred not in tuple(Side):
        raise Invalid(f"preferred must be a, b or tie, not {preferred!r}")


def _check_ranking(
    session: Session, comparison_id: int, ranking: Sequence[int] | None, both_bad: bool
) -> None:
    if ranking is None:
        if not both_bad:
            raise Invalid("give each response a rank, or settle that they cannot be ranked")
        return
    k = len(_completion_ids(session, comparison_id))
    if len(ranking) != k:
        raise Invalid(f"the ranking has {len(ranking)} places for {k} completions")
    Ranking(tuple(ranking))  # raises Invalid unless these are standard competition ranks
