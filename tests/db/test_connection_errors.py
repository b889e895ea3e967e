"""A database that cannot be reached is a sentence with its remedy, not a traceback."""

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

from app.db import connection_errors
from app.errors import Unavailable


@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        ('connection failed: FATAL:  database "attune" does not exist', "createdb"),
        ('connection failed: FATAL:  role "attune" does not exist', "create the role"),
        ('connection failed: FATAL:  password authentication failed for user "x"', "the password"),
        ("connection failed: Connection refused\n\tIs the server running?", "start PostgreSQL"),
        ("failed to resolve host 'db': Name or service not known", "correct the host in"),
        ("connection timeout expired", "connection timeout expired"),
    ],
)
def test_a_failed_connection_names_its_remedy(said: str, remedy: str) -> None:
    with pytest.raises(Unavailable) as caught, connection_errors.in_a_sentence():
        raise OperationalError(None, None, Exception(said))  # as SQLAlchemy does on connecting
    sentence = str(caught.value)
    assert sentence.startswith(f"the database does not respond: {said.splitlines()[0]}")
    assert remedy in sentence
    assert "\n" not in sentence


def test_a_statement_that_fails_stays_what_it_is() -> None:
    engine = create_engine("sqlite://")
    with (
        engine.connect() as connection,
        pytest.raises(OperationalError, match="no such table"),
        connection_errors.in_a_sentence(),
    ):
        connection.execute(text("SELECT * FROM absent"))
