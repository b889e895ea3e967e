"""What is kept about a person can be collected and erased; what the person did stays."""

from typing import Any

import pytest
from sqlalchemy import select

from app.db import Database, now
from app.errors import Conflict
from app.models import (
    ApiToken,
    Invitation,
    Judgment,
    LinkedIdentity,
    LoginSession,
    Membership,
    RecoveryCode,
    Role,
    SecondFactor,
    User,
)
from app.services.people import (
    accounts,
    audit,
    invitations,
    login_sessions,
    personal_data,
    sign_ins,
)
from tests.services import sample_votes

PASSWORD = "correct horse battery"


@pytest.fixture
def ada(any_database: Database) -> int:
    """Provide a labeler who did everything that leaves a trace."""
    with any_database.transaction() as session:
        project, (other,) = sample_votes.make_project(session, labelers=1)
        invited = invitations.invite(
            session, project_id=project.id, role=Role.LABELER, email="ada@example.org", actor_id=1
        )
        ada = invitations.accept(
            session,
            invited.secret,
            user=None,
            name="Ada",
            email="ada@example.org",
            password=PASSWORD,
        )
        invitations.invite(
            session, project_id=None, role=Role.LEAD, email="ada@example.org", actor_id=1
        )
        login_sessions.begin(session, ada.id, user_agent="Ada's browser")
        accounts.create_token(session, ada, name="script", scopes=["label"])
        session.add_all(
            [
                SecondFactor(user_id=ada.id, sealed_secret="sealed", created_at=now(session)),
                RecoveryCode(user_id=ada.id, code_hash="0" * 64, created_at=now(session)),
                LinkedIdentity(
                    user_id=ada.id,
                    issuer="https://id.example.org",
                    subject="ada",
                    created_at=now(session),
                ),
            ]
        )
        for labeler in (ada, other):
            comparison = sample_votes.make_comparison(session, project, overlap=1)
            sample_votes.vote(session, comparison, labeler, preferred="a", comment=labeler.name)
        return ada.id


def tables(database: Database, user_id: int) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    with database.reader() as session:
        for table, row in personal_data.collected(session, session.get_one(User, user_id)):
            found.setdefault(table, []).append(row)
    return found


def test_everything_about_a_person_is_collected_but_secrets(
    any_database: Database, ada: int
) -> None:
    found = tables(any_database, ada)
    assert set(found) == {
        *("user", "membership", "login_session", "api_token", "invitation"),
        *("assignment", "judgment", "audit_event"),
        *("second_factor", "recovery_code", "linked_identity"),
    }
    assert [row["comment"] for row in found["judgment"]] == ["Ada"]
    assert [row["email"] for row in found["invitation"]] == ["ada@example.org"] * 2
    secrets = {"password_hash", "token_hash", "id_hash", "lease_token"}
    secrets |= {"sealed_secret", "code_hash"}
    assert not any(secrets & row.keys() for rows in found.values() for row in rows)


@pytest.mark.parametrize("comments", [False, True])
def test_erasing_removes_who_it_was_and_keeps_what_was_said(
    any_database: Database, ada: int, comments: bool
) -> None:
    with any_database.transaction() as session:
        erased = personal_data.erase(session, ada, actor_id=1, comments=comments)
        assert (erased.sessions, erased.tokens, erased.invitations) == (1, 1, 2)
        assert erased.comments == int(comments)
    with any_database.reader() as session:
        user = session.get_one(User, ada)
        assert (user.name, user.is_active) == (f"Erased user {ada}", False)
        assert session.scalars(select(LoginSession)).all() == []
        assert session.scalars(select(ApiToken)).all() == []
        for ways_in in (SecondFactor, RecoveryCode, LinkedIdentity):
            assert session.scalars(select(ways_in)).all() == []
        assert set(session.scalars(select(Invitation.email))) == {None}
        judgments = {row.labeler_id: row for row in session.scalars(select(Judgment))}
        assert (judgments[ada].preferred, judgments[ada].comment) == (
            "a",
            "" if comments else "Ada",
        )
        assert [row.comment for id, row in judgments.items() if id != ada] != [""]
        assert session.scalar(select(Membership.pseudonym).where(Membership.user_id == ada))
        assert audit.broken_at(session) is None
        assert audit.page(session).rows[0].event.action == "user.erase"
    with any_database.transaction() as session:
        before = {"email": "ada@example.org", "password": PASSWORD, "address": "here"}
        assert sign_ins.with_password(session, **before) is None
        with pytest.raises(Conflict, match="was erased before"):
            personal_data.erase(session, ada, actor_id=1)
        accounts.create_user(session, email="ada@example.org", name="Ada", password=PASSWORD)


def test_the_only_administrator_is_not_erased(database: Database) -> None:
    with database.transaction() as session:
        users = [
            accounts.create_user(
                session, email=f"{n}@example.org", name="root", password=None, is_admin=True
            )
            for n in range(2)
        ]
        personal_data.erase(session, users[0].id, actor_id=None)
        with pytest.raises(Conflict, match="the only administrator; make another"):
            personal_data.erase(session, users[1].id, actor_id=None)
