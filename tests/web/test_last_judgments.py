"""Two last judgments at once: neither transaction sees the other's, and the round still goes on."""

from contextlib import ExitStack
from typing import Any

import pytest
from sqlalchemy.orm import Session

from app.db import Database, now
from app.domain.answers import PickBody
from app.domain.states import RoundState
from app.models import Project, Round, User
from app.services.judging import labeling
from app.services.judging.submissions import Submission
from app.services.queue import slot_leases
from app.services.rounds import rounds
from app.web.api.labeling import go_on
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
    go_on(session, labeling.submit(session, project, labeler.id, given))


@pytest.mark.services
def test_the_round_goes_on_though_neither_saw_the_other(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    advanced: list[int] = []
    monkeypatch.setattr(rounds, "advance", lambda _session, round_id: advanced.append(round_id))
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
