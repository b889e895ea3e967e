"""The audit log in pages, with the names of actors and projects."""

from sqlalchemy.orm import Session

from app.db.keyset import ListOrder
from app.services.people import accounts, audit


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
