"""A project with comparisons to judge, for tests of labeling."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.db import now
from app.domain.judgment_kinds import JudgmentBody, JudgmentKind, PickBody, RankBody
from app.models import (
    Assignment,
    Comparison,
    ComparisonCompletion,
    Completion,
    Guidelines,
    Membership,
    Project,
    Prompt,
    Role,
    Split,
    User,
)
from app.services.judging.submissions import Submission
from app.services.queue import comparisons

SECRET = b"secret of the tests, 32 bytes ok"
_numbers = count(1)


@dataclass
class Clock:
    """A clock that stands still until it is moved."""

    at: datetime = datetime(2026, 3, 1, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.at

    def forward(self, **parts: float) -> None:
        self.at += timedelta(**parts)


def make_project(session: Session, **columns: Any) -> Project:
    number = next(_numbers)
    defaults: dict[str, Any] = {
        "slug": f"desk-{number}",
        "name": f"Desk {number}",
        "judgment_kind": JudgmentKind.PICK,
        "k": 2,
        "overlap": 3,
        "evaluation_rate": 0.3,
        "created_at": now(session),
    }
    project = Project(**(defaults | columns))
    session.add(project)
    session.flush()
    session.add(
        Guidelines(project_id=project.id, version=1, rules="Be kind.", created_at=now(session))
    )
    session.flush()
    return project


def read_guidelines(session: Session, project: Project, user_id: int) -> None:
    """Let a member have read the guidelines, which otherwise come before the first comparison."""
    session.flush()
    session.execute(
        update(Membership)
        .where(Membership.project_id == project.id, Membership.user_id == user_id)
        .values(guidelines_read_version=1)
    )


def make_labelers(session: Session, project: Project, n: int) -> list[int]:
    ids = []
    for at in range(n):
        number = next(_numbers)
        user = User(
            email=f"l{number}@example.org", name=f"Labeler {number}", created_at=now(session)
        )
        session.add(user)
        session.flush()
        session.add(
            Membership(
                project_id=project.id,
                user_id=user.id,
                role=Role.LABELER,
                pseudonym=f"L{project.id}-{at}",
                created_at=now(session),
            )
        )
        ids.append(user.id)
    session.flush()
    return ids


def make_completions(
    session: Session, project: Project, k: int, author_id: int | None = None
) -> tuple[int, list[int]]:
    number = next(_numbers)
    prompt = Prompt(
        project_id=project.id,
        messages=[{"role": "user", "content": f"Question {number}?"}],
        split=Split.TRAIN,
        content_hash=f"{number:064d}",
        created_at=now(session),
    )
    session.add(prompt)
    session.flush()
    made = [
        Completion(
            project_id=project.id,
            prompt_id=prompt.id,
            source="test",
            source_key="test",
            sample_index=at,
            text=f"Answer {number}.{at}",
            author_id=author_id,
            created_at=now(session),
        )
        for at in range(k)
    ]
    session.add_all(made)
    session.flush()
    return prompt.id, [completion.id for completion in made]


def make_comparison(
    session: Session, project: Project, *, author_id: int | None = None, **options: Any
) -> Comparison:
    prompt_id, completion_ids = make_completions(session, project, project.k, author_id)
    return comparisons.create(
        session,
        project,
        prompt_id,
        completion_ids,
        natural_key=f"test:{next(_numbers)}",
        seed=1,
        **options,
    )


def some_answer(assignment: Assignment) -> JudgmentBody:
    """Prefer what comes first in canonical order."""
    if len(assignment.shown_order) == 2:
        return PickBody("a", 2)
    return RankBody(tuple(range(1, len(assignment.shown_order) + 1)))


def submission(
    assignment: Assignment, body: JudgmentBody | None = None, key: str | None = None, **other: Any
) -> Submission:
    return Submission(
        assignment.id,
        assignment.lease_token,
        key or f"key-{next(_numbers):08d}",
        body or some_answer(assignment),
        **other,
    )


def never_mix() -> Callable[[], float]:
    """Draw what leads to train comparisons first and nothing mixed in."""
    return lambda: 0.999


def texts_of(session: Session, comparison_id: int) -> list[str]:
    """Return the completions' texts in canonical order."""
    return list(
        session.scalars(
            select(Completion.text)
            .join(ComparisonCompletion, ComparisonCompletion.completion_id == Completion.id)
            .where(ComparisonCompletion.comparison_id == comparison_id)
            .order_by(ComparisonCompletion.position)
        )
    )
