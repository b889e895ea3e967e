"""Conditions of leases, as the planner sees them, and two tabs that claim at the same moment."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Session

from app.db import Database
from app.models import Assignment, User
from app.services.people import accounts
from app.services.queue import eligibility, queue_authentication, slot_leases
from tests.services import sample


@pytest.mark.parametrize("condition", [slot_leases.is_stale(1, 2), eligibility.is_live(1, 2)])
def test_the_state_of_a_lease_is_written_out_for_the_planner(condition: Any) -> None:
    # A plan for any state reads every assignment: 70 ms instead of one at a million of them.
    compiled = condition.compile(dialect=postgresql.dialect())  # type: ignore[no-untyped-call]
    assert "state = 'leased'" in str(compiled)
    assert "leased" not in compiled.params.values()


@pytest.mark.services
@pytest.mark.parametrize("gold_rate", [0.0, 0.4])
def test_two_tabs_that_claim_at_the_same_moment_get_the_same_comparison(
    postgres_url: str, gold_rate: float
) -> None:
    """The second tab's look at the labeler's leases is from before it waited for the lock."""
    database = Database(postgres_url)
    secret = _labeler(database, gold_rate)
    has_claimed = threading.Event()

    def first() -> int:
        with database.transaction() as session:
            claimed = _claim(session, secret)
            has_claimed.set()
            _await_waiting(database)
            return claimed

    def second() -> int:
        has_claimed.wait()
        with database.transaction() as session:
            return _claim(session, secret)

    with ThreadPoolExecutor(2) as pool:
        claims = [pool.submit(tab) for tab in (first, second)]
    assert claims[0].result() == claims[1].result()
    with database.reader() as session:
        assert session.scalar(select(func.count()).select_from(Assignment)) == 1
    database.dispose()


def _labeler(database: Database, gold_rate: float) -> str:
    with database.transaction() as session:
        project = sample.make_project(session, slug="desk", gold_rate=gold_rate)
        (labeler_id,) = sample.make_labelers(session, project, 1)
        for _ in range(3):
            sample.make_comparison(session, project)
        user = session.get_one(User, labeler_id)
        return accounts.create_token(session, user, name="tabs", scopes=["label"]).secret


def _claim(session: Session, secret: str) -> int:
    seat = queue_authentication.by_token(session, secret, "desk")
    assert seat is not None
    claimed = slot_leases.claim(
        session, sample.SECRET, seat.project, seat.user.id, draw=lambda: 0.0
    )
    assert claimed is not None
    return claimed.comparison_id


def _await_waiting(database: Database) -> None:
    """Wait until the other tab waits for the lock that this one holds."""
    until = time.monotonic() + 30
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    while time.monotonic() < until:
        with database.reader() as session:
            if session.scalar(waiting):
                return
        time.sleep(0.01)
    raise AssertionError("the second tab did not wait for the first")
