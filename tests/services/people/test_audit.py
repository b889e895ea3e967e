"""The audit log in pages, with the names of actors and projects."""

from sqlalchemy.orm import Session

from app.services.people import accounts, audit


def test_pages_go_back_in_time_without_gaps(session: Session) -> None:
    ada = accounts.create_user(session, email="ada@example.org", name="Ada", password=None)
    for number in range(5):
        audit.record(session, "test", f"event {number}", actor_id=ada.id if number else None)
    first = audit.page(session, limit=2)
    second = audit.page(session, before_id=first[-1].event.id, limit=3)
    assert [entry.event.subject for entry in (*first, *second)] == [
        f"event {number}" for number in (4, 3, 2, 1, 0)
    ]
    assert [entry.actor for entry in (*first, *second)] == ["Ada"] * 4 + [""]
    assert {entry.project for entry in first} == {""}
