"""Practising: the comparisons of a run, and what was right about each answer, at once.

Practice holds no slots and leases nothing: its answers are rows of their own, never judgments, so
that they cannot count in agreement, exports or training. A run shows the set in its own order, and
each comparison in an order of its own.
"""

import hmac
import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import now
from app.domain import practice as rules
from app.domain.answers import Body
from app.errors import Conflict, Invalid, LeaseLost, NotFound, ReplayMismatch
from app.models import Comparison, JudgmentKind, Membership, PracticeAnswer, Project, Prompt
from app.services.judging import judgment_bodies
from app.services.judging.submissions import KEY_LONGEST, KEY_SHORTEST, Submission
from app.services.judging.workload import Candidate, Sheet
from app.services.people import accounts
from app.services.project import projects
from app.services.queue import comparisons, practice_standing, slot_leases

STAYS = timedelta(days=1)
"""How long a sheet is said to stay; in truth it stays until it is answered."""


@dataclass(frozen=True, slots=True)
class Feedback:
    """What was right, what was said, and why; `order` is the order it was shown in."""

    answer_id: int
    comparison_id: int
    is_right: bool
    settled: Body
    given: Body
    reason: str
    order: tuple[int, ...]


def sheets(
    session: Session,
    secret: bytes,
    project: Project,
    labeler_id: int,
    *,
    held: Collection[int] = (),
    count: int = 1,
) -> list[Sheet]:
    """Return the next comparisons of the run, but those in `held`, which the page has."""
    run = _run(session, project.id, labeler_id)
    left = [one for one in _left(session, secret, project, labeler_id, run) if one not in held]
    return [_sheet(session, secret, project, labeler_id, run, one) for one in left[:count]]


def left(session: Session, secret: bytes, project: Project, labeler_id: int) -> list[int]:
    """Return the comparisons of the run that are not answered yet, in the order of the run."""
    run = _run(session, project.id, labeler_id)
    return _left(session, secret, project, labeler_id, run)


def submit(
    session: Session, secret: bytes, project: Project, labeler_id: int, given: Submission
) -> Feedback:
    """Keep an answer and say what was right; `given.assignment_id` is the comparison's.

    Raises:
        ReplayMismatch: the key came before with another answer.
        LeaseLost: the answer is of another run.
        Conflict: this comparison was answered in this run already.
        Invalid: the answer breaks a rule.
    """
    if not KEY_SHORTEST <= len(given.key) <= KEY_LONGEST:
        raise Invalid(
            f"a submission key has {KEY_SHORTEST} to {KEY_LONGEST} characters, not {len(given.key)}"
        )
    member = slot_leases.enter(session, project.id, labeler_id)
    before = _by_key(session, labeler_id, given.key)
    comparison = _comparison(session, project.id, given.assignment_id)
    said = _said(session, project, comparison, given)
    if before is not None:
        if (before.comparison_id, before.answer) != (comparison.id, said):
            raise ReplayMismatch(f"submission {given.key} came before with another answer")
        return feedback(session, before)
    if given.lease_token != token(member.practice_run):
        raise LeaseLost("practice was begun again since; reload the page")
    row = _keep(session, secret, project, member, comparison, given, said)
    practice_standing.note_passing(session, project, member)
    return feedback(session, row)


def answer_of(
    session: Session, project_id: int, labeler_id: int, comparison_id: int
) -> PracticeAnswer | None:
    """Return somebody's newest answer to a practice comparison."""
    return session.scalar(
        select(PracticeAnswer)
        .where(
            PracticeAnswer.project_id == project_id,
            PracticeAnswer.labeler_id == labeler_id,
            PracticeAnswer.comparison_id == comparison_id,
        )
        .order_by(PracticeAnswer.run.desc())
        .limit(1)
    )


def answers(session: Session, project_id: int, labeler_id: int, run: int) -> list[PracticeAnswer]:
    """Return somebody's answers in a run, as they were given."""
    query = select(PracticeAnswer).where(
        PracticeAnswer.project_id == project_id,
        PracticeAnswer.labeler_id == labeler_id,
        PracticeAnswer.run == run,
    )
    return list(session.scalars(query.order_by(PracticeAnswer.id)))


def feedback(session: Session, row: PracticeAnswer) -> Feedback:
    """Return what was right about an answer."""
    comparison = session.get_one(Comparison, row.comparison_id)
    kind = str(comparison.kind)
    return Feedback(
        answer_id=row.id,
        comparison_id=comparison.id,
        is_right=row.is_right,
        settled=rules.expected(kind, comparison.gold_answer or {}),
        given=rules.expected(kind, row.answer),
        reason=comparison.gold_reason,
        order=tuple(row.shown_order),
    )


def sheet_of(session: Session, project: Project, row: PracticeAnswer) -> Sheet:
    """Return what was on screen for an answer."""
    return _drawn(session, project, row.comparison_id, row.run, row.shown_order)


def prompt_of(session: Session, row: PracticeAnswer) -> str:
    """Return the last turn of what was asked."""
    comparison = session.get_one(Comparison, row.comparison_id)
    return str(session.get_one(Prompt, comparison.prompt_id).messages[-1]["content"])


def token(run: int) -> str:
    """Return what stands for a lease: an answer belongs to one run."""
    return f"practice-{run}"


def _keep(
    session: Session,
    secret: bytes,
    project: Project,
    member: Membership,
    comparison: Comparison,
    given: Submission,
    said: dict[str, Any],
) -> PracticeAnswer:
    kind = str(comparison.kind)
    run, labeler_id = member.practice_run, member.user_id
    settled = rules.expected(kind, comparison.gold_answer or {})
    earlier = answer_of(session, project.id, labeler_id, comparison.id)
    if earlier is not None and earlier.run == run:
        raise Conflict("you have answered this one already in this run")
    k = len(comparisons.completions_of(session, comparison.id))
    row = PracticeAnswer(
        project_id=project.id,
        comparison_id=comparison.id,
        labeler_id=labeler_id,
        run=run,
        answer=said,
        is_right=rules.is_right(settled, rules.expected(kind, said)),
        shown_order=_order(secret, labeler_id, comparison.id, run, k),
        guidelines_version=projects.guidelines(session, project.id).version,
        submission_key=given.key,
        submitted_at=now(session),
        active_ms=max(given.active_ms, 0),
    )
    session.add(row)
    session.flush()
    return row


def _said(
    session: Session, project: Project, comparison: Comparison, given: Submission
) -> dict[str, Any]:
    """Return the answer by name, checked like any judgment of its kind."""
    k = len(comparisons.completions_of(session, comparison.id))
    checked = judgment_bodies.columns(session, project, comparison, k, given.body, (), "")
    names = ("preferred", "strength", "ranking", "ratings", "thumb", "reasons", "both_bad")
    return {name: checked[name] for name in names if checked[name] not in (None, [], False)}


def _comparison(session: Session, project_id: int, comparison_id: int) -> Comparison:
    found = session.scalar(
        select(Comparison).where(
            practice_standing.in_set(project_id), Comparison.id == comparison_id
        )
    )
    if found is None:
        raise NotFound(f"there is no practice comparison {comparison_id} here")
    return found


def _by_key(session: Session, labeler_id: int, key: str) -> PracticeAnswer | None:
    return session.scalar(
        select(PracticeAnswer).where(
            PracticeAnswer.labeler_id == labeler_id, PracticeAnswer.submission_key == key
        )
    )


def _run(session: Session, project_id: int, labeler_id: int) -> int:
    member = accounts.membership(session, project_id, labeler_id)
    if member is None:
        raise Conflict("you are not a member of this project; only members practise in it")
    return member.practice_run


def _left(
    session: Session, secret: bytes, project: Project, labeler_id: int, run: int
) -> list[int]:
    done = select(PracticeAnswer.comparison_id).where(
        PracticeAnswer.labeler_id == labeler_id, PracticeAnswer.run == run
    )
    ids = session.scalars(
        select(Comparison.id)
        .where(practice_standing.in_set(project.id), Comparison.id.not_in(done))
        .order_by(Comparison.id)
    ).all()
    return sorted(ids, key=lambda one: _draw(secret, f"{labeler_id}:{run}:{one}"))


def _sheet(
    session: Session, secret: bytes, project: Project, labeler_id: int, run: int, one: int
) -> Sheet:
    k = len(comparisons.completions_of(session, one))
    return _drawn(session, project, one, run, _order(secret, labeler_id, one, run, k))


def _drawn(
    session: Session, project: Project, comparison_id: int, run: int, order: Sequence[int]
) -> Sheet:
    comparison = session.get_one(Comparison, comparison_id)
    prompt = session.get_one(Prompt, comparison.prompt_id)
    texts = [one.text for one in comparisons.completions_of(session, comparison_id)]
    kind = JudgmentKind(comparison.kind)
    return Sheet(
        assignment_id=comparison.id,
        comparison_id=comparison.id,
        lease_token=token(run),
        kind=kind,
        messages=tuple((str(turn["role"]), str(turn["content"])) for turn in prompt.messages),
        candidates=tuple(Candidate(at, texts[at]) for at in order),
        expires_at=now(session) + STAYS,
        criteria=judgment_bodies.criteria_of(session, project.id, kind),
        is_practice=True,
        previous=None,
    )


def _order(secret: bytes, labeler_id: int, comparison_id: int, run: int, k: int) -> list[int]:
    order = list(range(k))
    random.Random(_draw(secret, f"order:{labeler_id}:{comparison_id}:{run}")).shuffle(order)
    return order


def _draw(secret: bytes, what: str) -> bytes:
    return hmac.digest(secret, f"practice:{what}".encode(), "sha256")
