"""Practice runs: the comparisons of a run, and feedback on each judgment right after it.

Practice leases no slots, and its judgments are stored in a table of their own, so that they cannot
count in agreement, exports or training. Each run shuffles the set and the completions anew.
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
from app.domain.judgment_kinds import JudgmentBody, JudgmentKind
from app.errors import Conflict, LeaseLost, NotFound, ReplayMismatch
from app.models import Comparison, Membership, PracticeAnswer, Project, Prompt
from app.services.judging import judgment_bodies, sheets, submissions
from app.services.judging.sheets import Sheet
from app.services.judging.submissions import Submission
from app.services.people import accounts
from app.services.project import projects
from app.services.queue import comparisons, practice_standing, slot_leases

STAYS = timedelta(days=1)
"""The expiry that a sheet reports; in fact it never expires."""


@dataclass(frozen=True, slots=True)
class Feedback:
    """A judgment in practice beside the settled answer; `order` is the order shown."""

    answer_id: int
    comparison_id: int
    is_right: bool
    settled: JudgmentBody
    given: JudgmentBody
    reason: str
    order: tuple[int, ...]


def next_sheets(
    session: Session,
    secret: bytes,
    project: Project,
    labeler_id: int,
    *,
    held: Collection[int] = (),
    count: int = 1,
) -> list[Sheet]:
    """Return the next comparisons of the run, without those in `held`, which the page has."""
    run = _run(session, project.id, labeler_id)
    left = [id_ for id_ in _left(session, secret, project, labeler_id, run) if id_ not in held]
    return [_sheet(session, secret, project, labeler_id, run, id_) for id_ in left[:count]]


def left(session: Session, secret: bytes, project: Project, labeler_id: int) -> list[int]:
    """Return the comparisons of the run that are not judged yet, in the order of the run."""
    run = _run(session, project.id, labeler_id)
    return _left(session, secret, project, labeler_id, run)


def submit(
    session: Session, secret: bytes, project: Project, labeler_id: int, submission: Submission
) -> Feedback:
    """Record a judgment and return feedback on it; the assignment's id is the comparison's.

    Raises:
        ReplayMismatch: the key was used before with another judgment.
        LeaseLost: the judgment belongs to another run.
        Conflict: this comparison was judged in this run already.
        Invalid: the judgment breaks a rule.
    """
    submissions.check_key(submission.key)
    member = slot_leases.enter(session, project.id, labeler_id)
    recorded = _by_key(session, labeler_id, submission.key)
    comparison = _comparison(session, project.id, submission.assignment_id)
    content = _content(session, project, comparison, submission)
    if recorded is not None:
        if (recorded.comparison_id, recorded.answer) != (comparison.id, content):
            raise ReplayMismatch(
                f"submission {submission.key} was sent before with another judgment"
            )
        return feedback(session, recorded)
    if submission.lease_token != token(member.practice_run):
        raise LeaseLost("a new practice run has started since; reload the page")
    row = _record(session, secret, project, member, comparison, submission, content)
    practice_standing.note_passing(session, project, member)
    return feedback(session, row)


def answer_of(
    session: Session, project_id: int, labeler_id: int, comparison_id: int
) -> PracticeAnswer | None:
    """Return a labeler's newest judgment of a practice comparison."""
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
    """Return a labeler's judgments in a run, oldest first."""
    query = select(PracticeAnswer).where(
        PracticeAnswer.project_id == project_id,
        PracticeAnswer.labeler_id == labeler_id,
        PracticeAnswer.run == run,
    )
    return list(session.scalars(query.order_by(PracticeAnswer.id)))


def feedback(session: Session, row: PracticeAnswer) -> Feedback:
    """Return feedback on a recorded judgment."""
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
    """Return the sheet that a recorded judgment was made on."""
    return _sheet_in_order(session, project, row.comparison_id, row.run, row.shown_order)


def prompt_of(session: Session, row: PracticeAnswer) -> str:
    """Return the last turn of the prompt."""
    comparison = session.get_one(Comparison, row.comparison_id)
    return str(session.get_one(Prompt, comparison.prompt_id).messages[-1]["content"])


def token(run: int) -> str:
    """Return what practice uses as a lease token; it names the run."""
    return f"practice-{run}"


def _record(
    session: Session,
    secret: bytes,
    project: Project,
    member: Membership,
    comparison: Comparison,
    submission: Submission,
    content: dict[str, Any],
) -> PracticeAnswer:
    kind = str(comparison.kind)
    run, labeler_id = member.practice_run, member.user_id
    settled = rules.expected(kind, comparison.gold_answer or {})
    earlier = answer_of(session, project.id, labeler_id, comparison.id)
    if earlier is not None and earlier.run == run:
        raise Conflict("you have judged this comparison in this run already")
    k = len(comparisons.completions_of(session, comparison.id))
    row = PracticeAnswer(
        project_id=project.id,
        comparison_id=comparison.id,
        labeler_id=labeler_id,
        run=run,
        answer=content,
        is_right=rules.is_right(settled, rules.expected(kind, content)),
        shown_order=_order(secret, labeler_id, comparison.id, run, k),
        guidelines_version=projects.guidelines(session, project.id).version,
        submission_key=submission.key,
        submitted_at=now(session),
        active_ms=submissions.active_ms(submission),
    )
    session.add(row)
    session.flush()
    return row


def _content(
    session: Session, project: Project, comparison: Comparison, submission: Submission
) -> dict[str, Any]:
    """Return the judgment's values that are not empty, checked as in normal work."""
    k = len(comparisons.completions_of(session, comparison.id))
    body = judgment_bodies.checked(session, project, comparison, k, submission.body)
    return {name: value for name, value in body.to_json().items() if value not in (None, [], False)}


def _comparison(session: Session, project_id: int, comparison_id: int) -> Comparison:
    comparison = session.scalar(
        select(Comparison).where(
            practice_standing.in_set(project_id), Comparison.id == comparison_id
        )
    )
    if comparison is None:
        raise NotFound(f"there is no practice comparison {comparison_id} here")
    return comparison


def _by_key(session: Session, labeler_id: int, key: str) -> PracticeAnswer | None:
    return session.scalar(
        select(PracticeAnswer).where(
            PracticeAnswer.labeler_id == labeler_id, PracticeAnswer.submission_key == key
        )
    )


def _run(session: Session, project_id: int, labeler_id: int) -> int:
    member = accounts.membership(session, project_id, labeler_id)
    if member is None:
        raise Conflict("you are not a member of this project; only members can practice in it")
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
    return sorted(ids, key=lambda id_: _draw(secret, f"{labeler_id}:{run}:{id_}"))


def _sheet(
    session: Session, secret: bytes, project: Project, labeler_id: int, run: int, comparison_id: int
) -> Sheet:
    k = len(comparisons.completions_of(session, comparison_id))
    order = _order(secret, labeler_id, comparison_id, run, k)
    return _sheet_in_order(session, project, comparison_id, run, order)


def _sheet_in_order(
    session: Session, project: Project, comparison_id: int, run: int, order: Sequence[int]
) -> Sheet:
    comparison = session.get_one(Comparison, comparison_id)
    prompt = session.get_one(Prompt, comparison.prompt_id)
    completions = comparisons.completions_of(session, comparison_id)
    texts = [(completion.text, completion.earlier) for completion in completions]
    kind = JudgmentKind(comparison.kind)
    return Sheet(
        assignment_id=comparison.id,
        comparison_id=comparison.id,
        lease_token=token(run),
        kind=kind,
        messages=sheets.messages_of(prompt.messages),
        candidates=sheets.in_order(texts, order, project.chat["thought_end"]),
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
