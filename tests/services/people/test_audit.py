"""The audit log in pages, with the names of actors and projects."""

import pytest
from sqlalchemy.orm import Session

from app.db import Database, scan
from app.db.keyset import ListOrder
from app.services.people import accounts, audit
from tests.services import sqlite_costs


def test_pages_go_back_in_time_without_gaps(session: Session) -> None:
    ada = accounts.create_user(session, email="ada@example.org", name="Ada", password=None)
    for number in range(5):
        audit.record(session, "test", f"event {number}", actor_id=ada.id if number else None)
    first = audit.page(session, limit=2)
    assert first.next is not None
    second = audit.page(session, order=first.next, limit=3)
    entries = (*first.rows, *second.rows)
    assert [entry.event.subject for entry in entries] == [f"event {n}" for n in (4, 3, 2, 1, 0)]
    assert [entry.actor for entry in entries] == ["Ada"] * 4 + [""]
    assert {entry.project for entry in entries} == {""}
    oldest = audit.page(session, order=ListOrder(is_ascending=True), limit=2)
    assert [entry.event.subject for entry in oldest.rows] == [f"user {ada.id}", "event 0"]


def test_nobody_waits_while_the_chain_is_followed(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scan, "SQLITE_ROWS", 3)
    with database.transaction() as session:
        for number in range(8):
            audit.record(session, "test", f"event {number}", actor_id=None)
    with database.long_reader() as session, sqlite_costs.others_committing(database) as commits:
        assert audit.verify(session).events == 8
    assert not commits.held
    assert len(commits.statements) == 5, "four pieces of two, and the end"
