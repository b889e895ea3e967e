"""Going back forgets second factors and connected identities, and coming again asks for nothing."""

from sqlalchemy import func, select

from app.db import Database, schema
from app.models import LinkedIdentity, PendingSignIn, RecoveryCode, SecondFactor, User
from app.services.people import accounts

BEFORE = "c81f5d2e7a40"


def test_second_factors_and_identities_are_forgotten_and_accounts_stay(
    any_database: Database,
) -> None:
    with any_database.transaction() as session:
        user = accounts.create_user(session, email="a@example.org", name="Ada", password=None)
        at = user.created_at
        session.add_all(
            [
                SecondFactor(user_id=user.id, sealed_secret="x", created_at=at, confirmed_at=at),
                RecoveryCode(user_id=user.id, code_hash="x", created_at=at),
                PendingSignIn(user_id=user.id, id_hash="x", created_at=at, expires_at=at),
                LinkedIdentity(user_id=user.id, issuer="x", subject="x", created_at=at),
            ]
        )
    schema.downgrade(any_database.engine, BEFORE)
    schema.upgrade(any_database.engine)
    assert schema.drift(any_database.engine) == []
    with any_database.reader() as session:
        assert session.scalars(select(User.email)).all() == ["a@example.org"]
        for table in (SecondFactor, RecoveryCode, PendingSignIn, LinkedIdentity):
            assert session.scalar(select(func.count()).select_from(table)) == 0
