"""Log lines: what they say of a crash, and what they must not say."""

import logging
from collections.abc import Iterator

import pytest
import structlog
from alembic.migration import MigrationContext
from sqlalchemy import create_engine

from app import logs


@pytest.fixture(autouse=True)
def _reset() -> Iterator[None]:
    handlers = list(logging.getLogger().handlers)
    yield
    structlog.reset_defaults()
    logging.getLogger().handlers = handlers


@pytest.mark.parametrize("style", ["json", "text"])
def test_a_crash_is_logged_without_the_values_of_variables(
    style: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A password is a local variable of the function that checks it."""
    logs.configure("info", style)  # type: ignore[arg-type]
    secret = "correct " + "horse"
    try:
        raise RuntimeError("not foreseen")
    except RuntimeError as error:
        structlog.get_logger("test").error("unexpected error", exc_info=error)
    said = capsys.readouterr().err
    assert "RuntimeError: not foreseen" in said
    assert "test_logs.py" in said
    assert secret not in said


def test_a_look_at_the_revision_of_the_database_is_not_logged(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Readiness looks at it for every request; a migration that runs is worth a line."""
    logs.configure("info", "json")
    engine = create_engine("sqlite://")
    with engine.connect() as connection:
        MigrationContext.configure(connection)
    logging.getLogger("alembic.runtime.migration").info("Running upgrade %s -> %s", "a", "b")
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert "Running upgrade a -> b" in said[0]
