"""Comparisons of prompts and completions that a project has already, made at a lead's request.

Rounds and imports make comparisons of their own. Here a lead requests more: for prompts without a
demonstration, or of completions that are in no comparison of the project's kind yet.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Select, exists, func, select, true
from sqlalchemy.orm import Session

from app.domain.judgment_kinds import KINDS, JudgmentKind
from app.errors import Invalid
from app.models import (
    Comparison,
    ComparisonCompletion,
    Completion,
    Demonstration,
    Project,
    Prompt,
    Split,
)
from app.models.prompts import FRESH_KEYS
from app.services.datasets import imported_votes
from app.services.people import audit
from app.services.queue import comparisons

MOST = 5000
COUNTED_MOST = 10_000  # completions that were asked about before
_SPLITS = (Split.TRAIN, Split.VALIDATION)
"""Where models are trained, the test split is left out: it is for evaluation."""


@dataclass(frozen=True, slots=True)
class RequestedComparisons:
    """How many comparisons were made, and for how many prompts more could be.

    ``left_out`` counts the completions that are in a comparison of the kind already, up to one more
    than `COUNTED_MOST`.
    """

    made: int
    left: int
    left_out: int = 0


def ask(
    session: Session, project: Project, *, most: int, actor_id: int | None
) -> RequestedComparisons:
    """Make up to `most` comparisons of the project's kind, oldest prompts first.

    Raises:
        Invalid: `most` is out of range.
    """
    if not 1 <= most <= MOST:
        raise Invalid(f"1 to {MOST} comparisons can be requested at once, not {most}")
    kind = JudgmentKind(project.judgment_kind)
    left_out = 0
    if KINDS[kind].judges_completions:
        left_out = _asked_before(session, project.id, kind)
        made = _ask_of_completions(session, project, kind, most)
    else:
        made = _ask_to_write(session, project, kind, most)
    if made:
        audit.record(
            session,
            "comparisons.ask",
            project.slug,
            actor_id=actor_id,
            project_id=project.id,
            details={"kind": str(kind), "made": made},
        )
    return RequestedComparisons(made, waiting(session, project), left_out)


def waiting(session: Session, project: Project) -> int:
    """Count the prompts for which a comparison could be made now."""
    kind = JudgmentKind(project.judgment_kind)
    if KINDS[kind].judges_completions:
        some = _with_fresh(session, project, kind).subquery()
    else:
        some = _unanswered(project, kind).subquery()
    return session.scalar(select(func.count()).select_from(some)) or 0


def _ask_to_write(session: Session, project: Project, kind: JudgmentKind, most: int) -> int:
    prompt_ids = session.scalars(_unanswered(project, kind).limit(most)).all()
    for prompt_id in prompt_ids:
        _create(session, project, kind, prompt_id, ())
    return len(prompt_ids)


def _ask_of_completions(session: Session, project: Project, kind: JudgmentKind, most: int) -> int:
    made = 0
    prompt_ids = session.scalars(_with_fresh(session, project, kind).limit(most)).all()
    for turn, prompt_id in enumerate(prompt_ids):
        fresh = session.scalars(
            _fresh(session, project, kind)
            .where(Completion.prompt_id == prompt_id)
            .order_by(Completion.id)
        ).all()
        for ids in _groups(_in_turn(fresh, turn), kind, project.k):
            if made == most:
                return made
            _create(session, project, kind, prompt_id, ids)
            made += 1
    return made


def _in_turn(ids: Sequence[int], turn: int) -> list[int]:
    """Return completions in an order in which, from turn to turn, others are neighbors.

    The circle method of tournaments: the first stays, the others move on by one, and the two ends
    meet. In pairs, each of n meets each other once in n - 1 turns (n, if n is odd), so that over
    the prompts all models are compared with each other.
    """
    places: list[int | None] = [*ids]
    if len(places) % 2:
        places.append(None)  # whoever meets nobody comes last
    first, others = places[:1], places[1:]
    at = turn % max(len(others), 1)
    circle = [*first, *others[at:], *others[:at]]
    pairs = [(circle[place], circle[-1 - place]) for place in range(len(circle) // 2)]
    pairs.sort(key=lambda pair: None in pair)
    return [each for pair in pairs for each in pair if each is not None]


def _groups(ids: Sequence[int], kind: JudgmentKind, k: int) -> list[Sequence[int]]:
    """Group completions into comparisons of k; the last may be smaller if the kind allows it."""
    groups = [ids[at : at + k] for at in range(0, len(ids), k)]
    return [group for group in groups if len(group) >= KINDS[kind].fewest]


def _in_splits(project: Project) -> tuple[ColumnElement[bool], ...]:
    """Return the condition that leaves out prompts for evaluations, unless nothing is trained."""
    return (Prompt.split.in_(_SPLITS),) if project.trains else (Prompt.is_evaluation.is_(False),)


def _unanswered(project: Project, kind: JudgmentKind) -> Select[int]:
    """Select prompts without a demonstration or a comparison that asks for one."""
    return (
        select(Prompt.id)
        .where(
            Prompt.project_id == project.id,
            *_in_splits(project),
            ~exists().where(Demonstration.prompt_id == Prompt.id),
            ~exists().where(Comparison.prompt_id == Prompt.id, Comparison.kind == kind),
        )
        .order_by(Prompt.id)
    )


def _fresh(session: Session, project: Project, kind: JudgmentKind) -> Select[int]:
    """Select finished completions that are in no comparison of a kind."""
    asked = exists().where(ComparisonCompletion.completion_id == Completion.id)
    if _has_other_kinds(session, project.id, kind):  # or else no comparison need be read
        asked = asked.where(
            ComparisonCompletion.comparison_id == Comparison.id, Comparison.kind == kind
        )
    asked = asked.correlate(Completion)
    return (
        select(Completion.id)
        .join(Prompt, Prompt.id == Completion.prompt_id)
        .where(
            Completion.project_id == project.id,
            Completion.is_finished,
            *_in_splits(project),
            ~asked,
            Completion.source_key.not_like(f"{FRESH_KEYS}%"),
            # What a round has sampled for comparison, spares included, is left to the round.
            Completion.checkpoint_id.is_(None) if KINDS[kind].shows_several else true(),
        )
    )


def _asked_before(session: Session, project_id: int, kind: JudgmentKind) -> int:
    """Count the completions that are in a comparison of a kind already, up to a bound."""
    asked = exists().where(
        ComparisonCompletion.completion_id == Completion.id,
        ComparisonCompletion.comparison_id == Comparison.id,
        Comparison.kind == kind,
    )
    some = (
        select(Completion.id)
        .where(Completion.project_id == project_id, asked.correlate(Completion))
        .limit(COUNTED_MOST + 1)
        .subquery()
    )
    return session.scalar(select(func.count()).select_from(some)) or 0


def _has_other_kinds(session: Session, project_id: int, kind: JudgmentKind) -> bool:
    # The first and the last kind in the index: no more than two of its entries are read.
    of_project = select(Comparison.kind).where(Comparison.project_id == project_id).limit(1)
    ends = (of_project.order_by(Comparison.kind), of_project.order_by(Comparison.kind.desc()))
    return any(session.scalar(end) not in {None, kind} for end in ends)


def _with_fresh(session: Session, project: Project, kind: JudgmentKind) -> Select[int]:
    """Select prompts with enough completions for a comparison."""
    return (
        _fresh(session, project, kind)
        .with_only_columns(Completion.prompt_id)
        .group_by(Completion.prompt_id)
        .having(func.count() >= KINDS[kind].fewest)
        .order_by(Completion.prompt_id)
    )


def _create(
    session: Session, project: Project, kind: JudgmentKind, prompt_id: int, ids: Sequence[int]
) -> None:
    comparisons.create(
        session,
        project,
        prompt_id,
        ids,
        kind=kind,
        natural_key=imported_votes.natural_key(kind, prompt_id, ids),
        seed=project.split_seed,
        priority=imported_votes.BEHIND_ROUNDS,
    )
