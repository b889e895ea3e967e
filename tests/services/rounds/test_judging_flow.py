"""Whatever gives a round its last judgment advances it, without a word from the caller."""

from contextlib import ExitStack
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db import Database, now
from app.domain.judgment_kinds import PickBody
from app.domain.states import RoundState
from app.errors import Conflict
from app.models import Judgment, Project, Round, User
from app.services.judging.submissions import Submission
from app.services.queue import slot_leases
from app.services.rounds import judging_flow, rounds
from tests.services.sample_votes import make_comparison, make_project

SECRET = b"s" * 32


def _round(session: Session, project: Project) -> Round:
    row = Round(
        project_id=project.id,
        number=1,
        state=RoundState.LABELING,
        plan={},
        created_at=now(session),
    )
    session.add(row)
    session.flush()
    return row


def _judge(session: Session, project: Project, labeler: User) -> None:
    assignment = slot_leases.claim(session, SECRET, project, labeler.id)
    assert assignment is not None
    answer = PickBody(preferred="a", strength=None, both_bad=False)
    given = Submission(
        assignment.id, assignment.lease_token, f"key-{labeler.id}-0000", answer, (), "", 1000
    )
    judging_flow.submit(session, project, labeler.id, given)


@pytest.fixture
def advanced(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    rounds_advanced: list[int] = []

    def advance(_session: Session, round_id: int) -> None:
        rounds_advanced.append(round_id)

    monkeypatch.setattr(rounds, "advance", advance)
    return rounds_advanced


@pytest.mark.services
def test_the_round_advances_though_neither_of_two_saw_the_other(
    postgres_url: str, advanced: list[int]
) -> None:
    database = Database(postgres_url)
    with database.transaction() as session:
        project, people = make_project(session, labelers=2, overlap=1)
        project.median_active_ms = 1000  # or the first judgment would hold the project's row
        row: Any = _round(session, project)
        for _ in range(2):
            make_comparison(session, project, round_id=row.id)
    with ExitStack() as stack:
        sessions = [stack.enter_context(database.transaction()) for _ in people]
        for session, labeler in zip(sessions, people, strict=True):
            _judge(session, session.get_one(Project, project.id), labeler)
        assert advanced == []
    assert row.id in advanced
    database.dispose()


def test_only_the_last_judgment_advances_the_round(database: Database, advanced: list[int]) -> None:
    with database.transaction() as session:
        project, people = make_project(session, labelers=2, overlap=2)
        row = _round(session, project)
        make_comparison(session, project, round_id=row.id)
        _judge(session, project, people[0])
        assert advanced == []
        _judge(session, project, people[1])
    assert advanced == [row.id]


def test_withdrawing_and_a_smaller_overlap_advance_the_round(
    database: Database, advanced: list[int]
) -> None:
    with database.transaction() as session:
        project, people = make_project(session, labelers=1, overlap=2)
        row = _round(session, project)
        comparison = make_comparison(session, project, round_id=row.id)
        lead = people[0].id
        assert judging_flow.set_overlap(session, project.id, 1, round_number=1, actor_id=lead) == 1
        judging_flow.withdraw(session, project.id, comparison.id, actor_id=lead)
    assert advanced == [row.id, row.id]


def test_a_judgment_stands_though_its_round_cannot_advance(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_session: Session, _round_id: int) -> None:
        raise Conflict("no")

    monkeypatch.setattr(rounds, "advance", refuse)
    with database.transaction() as session:
        project, people = make_project(session, labelers=1, overlap=1)
        make_comparison(session, project, round_id=_round(session, project).id)
        _judge(session, project, people[0])
    with database.reader() as session:
        assert session.scalar(select(func.count(Judgment.id))) == 1
