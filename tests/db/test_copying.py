"""Rows that are sent while the next are made: stored in order, and no error of theirs is lost."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from psycopg import errors
from sqlalchemy import event, func, select

from app.db import Database, bulk, copying
from app.db.copying import Copier
from app.models import Prompt, PromptTag
from app.services.project import prompts
from app.services.project.prompts import NewPrompt
from tests.services import sample

pytestmark = pytest.mark.services

COLUMNS = ("prompt_id", "tag", "project_id")


@pytest.fixture
def postgres(postgres_url: str) -> Iterator[Database]:
    database = Database(postgres_url)
    yield database
    database.dispose()


@pytest.fixture
def copier() -> Iterator[Copier]:
    with Copier() as copier:
        yield copier


@pytest.fixture
def stored(postgres: Database) -> tuple[int, int]:
    """The ids of a project and of its prompt."""
    with postgres.transaction() as session:
        project = sample.make_project(session)
        added = prompts.add(session, project, [NewPrompt((("user", "Q"),))])
        return project.id, added.prompts[0].id


def test_a_statement_and_the_commit_wait_for_rows_that_are_being_sent(
    postgres: Database,
    stored: tuple[int, int],
    copier: Copier,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    project_id, prompt_id = stored
    go_on, threads = threading.Event(), []

    def slow(*arguments: Any, send: Any = copying._send) -> None:
        threads.append(threading.current_thread().name)
        assert go_on.wait(timeout=30)
        send(*arguments)

    monkeypatch.setattr(copying, "_send", slow)
    with postgres.transaction() as session:
        bulk.share(session, bulk.Storing(copier))
        for tag in ("a", "b"):
            bulk.insert(session, PromptTag, COLUMNS, [(prompt_id, tag, project_id)])
        go_on.set()  # neither call has waited
        assert session.scalar(select(func.count()).select_from(PromptTag)) == 2
        bulk.insert(session, PromptTag, COLUMNS, [(prompt_id, "c", project_id)])
    with postgres.reader() as session:
        assert session.scalars(select(PromptTag.tag).order_by(PromptTag.tag)).all() == [*"abc"]
    assert all(name.startswith("copy") for name in threads)


def test_an_error_of_rows_that_were_sent_undoes_the_transaction(
    postgres: Database, stored: tuple[int, int], copier: Copier
) -> None:
    project_id, prompt_id = stored

    def store(*tags: str, parts: int = 1) -> None:
        with postgres.transaction() as session:
            bulk.share(session, bulk.Storing(copier))
            rows = [(prompt_id, tag, project_id) for tag in tags]
            bulk.insert(session, PromptTag, COLUMNS, rows)
            assert len(rows) // parts  # may fail while the rows are being sent

    with pytest.raises(errors.UniqueViolation):
        store("a", "a")
    with pytest.raises(ZeroDivisionError):
        store("b", parts=0)
    store("c")
    with postgres.reader() as session:
        assert session.scalars(select(PromptTag.tag)).all() == ["c"]


def test_ids_reserved_ahead_are_each_used_once_and_asked_for_once(
    postgres: Database, stored: tuple[int, int], copier: Copier
) -> None:
    storing, asked = bulk.Storing(copier), []

    @event.listens_for(postgres.engine, "before_cursor_execute")
    def _note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        asked.append("nextval" in statement)

    taken: list[int] = []
    for wanted, used, statements in ((5, 3, 1), (4, 4, 1), (0, 2, 1), (6, 6, 1), (0, 0, 0)):
        asked.clear()
        with postgres.transaction() as session:
            bulk.share(session, storing)
            bulk.reserve_ahead(session, {Prompt: wanted})
            ids = bulk.reserve_ids(session, Prompt, used)
        assert sum(asked) == statements
        assert ids == sorted(ids)
        assert len(ids) == used
        taken += ids
    assert len(set(taken)) == 15
    assert stored[1] not in taken
