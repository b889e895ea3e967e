"""Rows that are sent while the next are made: stored in order, and no error of theirs is lost."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from psycopg import errors
from sqlalchemy import delete, event, func, select, text
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.orm import Session

from app.db import Base, Database, bulk, copying, foreign_keys, now
from app.db.copying import Copier
from app.models import Prompt, PromptTag
from app.services.project import prompts
from app.services.project.prompts import NewPrompt
from tests.services import sample

pytestmark = pytest.mark.services

COLUMNS = ("prompt_id", "tag", "project_id")
PROMPT_COLUMNS = (
    *("id", "project_id", "messages", "content_hash", "group_hash", "split", "source"),
    *("source_key", "meta", "follow_up", "category", "is_evaluation", "created_at"),
)


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


def test_keys_are_checked_for_all_rows_at_once_and_rows_they_lead_to_are_locked(
    postgres: Database, stored: tuple[int, int], copier: Copier
) -> None:
    project_id, prompt_id = stored

    def store(session: Session, *rows: tuple[int, str, int]) -> None:
        bulk.share(session, bulk.Storing(copier, fires_triggers=False))
        bulk.insert(session, PromptTag, COLUMNS, rows)

    with (
        pytest.raises(IntegrityError, match="refers to prompt 99, which does not"),
        postgres.transaction() as session,
    ):
        store(session, (prompt_id, "a", project_id), (99, "b", project_id))
    with postgres.transaction() as session:
        store(session, (prompt_id, "c", project_id))
        with postgres.transaction() as other:
            other.execute(text("SET LOCAL lock_timeout = '50ms'"))
            with pytest.raises(OperationalError, match="lock timeout"):
                other.execute(delete(Prompt).where(Prompt.id == prompt_id))
            other.rollback()
        trigger_role = text("SELECT current_setting('session_replication_role')")
        assert session.scalar(trigger_role) == "origin"  # for the statements that follow
    with postgres.reader() as session:
        assert session.scalars(select(PromptTag.tag)).all() == ["c"]


def test_rows_of_the_same_transaction_are_not_looked_up(
    postgres: Database, stored: tuple[int, int], copier: Copier, monkeypatch: pytest.MonkeyPatch
) -> None:
    project_id, prompt_id = stored
    looked_up: list[foreign_keys.Referred] = []

    def hold(cursor: Any, table: str, referred: foreign_keys.Referred) -> None:
        looked_up.append(referred)
        whole_hold(cursor, table, referred)

    whole_hold = foreign_keys.hold
    monkeypatch.setattr(foreign_keys, "hold", hold)
    storing = bulk.Storing(copier, fires_triggers=False)
    for number in range(2):  # another transaction holds nothing yet
        with postgres.transaction() as session:
            bulk.share(session, storing)
            (new_id,) = bulk.reserve_ids(session, Prompt, 1)
            hashes = (f"{number}", f"{number}")
            rest: tuple[Any, ...] = (*hashes, "train", "", "", {}, [], "", False, now(session))
            bulk.insert(session, Prompt, PROMPT_COLUMNS, [(new_id, project_id, [], *rest)])
            both = [(new_id, "t", project_id), (prompt_id, f"t{number}", project_id)]
            bulk.insert(session, PromptTag, COLUMNS, both)
    assert looked_up == [{"project": [project_id]}, {"prompt": [prompt_id]}] * 2


def test_a_role_without_the_right_leaves_the_keys_to_the_server(
    postgres: Database, stored: tuple[int, int], copier: Copier, monkeypatch: pytest.MonkeyPatch
) -> None:
    project_id, prompt_id = stored
    with postgres.transaction() as session:
        session.execute(text("DROP ROLE IF EXISTS attune_unprivileged"))
        session.execute(text("CREATE ROLE attune_unprivileged"))
        session.execute(text("GRANT ALL ON ALL TABLES IN SCHEMA public TO attune_unprivileged"))
    try:
        with postgres.transaction() as session:
            session.execute(text("SET LOCAL ROLE attune_unprivileged"))
            storing = bulk.Storing(copier, fires_triggers=False)
            bulk.share(session, storing)
            rows = [(prompt_id, "a", project_id), (99, "b", project_id)]
            bulk.insert(session, PromptTag, COLUMNS, rows)
            with pytest.raises(IntegrityError, match="fk_prompt_tag_prompt_id"):
                session.execute(text("SELECT 1"))
            session.rollback()
        assert storing.fires_triggers
    finally:
        with postgres.transaction() as session:
            session.execute(text("DROP OWNED BY attune_unprivileged"))
            session.execute(text("DROP ROLE attune_unprivileged"))


def test_every_key_leads_to_the_id_of_one_table() -> None:
    """Or else `HeldRows` would not know what it leads to."""
    for table in Base.metadata.tables.values():
        for constraint in table.foreign_key_constraints:
            assert [element.column.name for element in constraint.elements] == ["id"]
