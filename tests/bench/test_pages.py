"""Timing pages: every page is requested as often as asked, and an error is not a timing."""

import pytest
from starlette.testclient import TestClient

from app.bench import pages
from app.bench.pages import PageTimings
from app.db import Database
from app.errors import Invalid
from app.services.people import accounts
from app.services.project import projects
from app.settings import Settings
from tests.conftest import quick_app
from tests.live import serve


def token_of(database: Database) -> str:
    with database.transaction() as session:
        lead = accounts.create_user(session, email="lead@example.org", name="Lead", password=None)
        lead.is_admin = True
        projects.create(session, name="Bench", slug="bench", owner=lead)
        scopes = ["label", "read", "write", "admin"]
        return accounts.create_token(session, lead, name="bench", scopes=scopes).secret


def test_each_page_is_timed_cold_and_warm(settings: Settings, database: Database) -> None:
    token = token_of(database)
    with serve(quick_app(settings, database)) as address:
        timings = pages.measure(address, token, ["/p/bench/prompts", "/"], requests=3)
        assert [(row.path, len(row.first), len(row.warm)) for row in timings] == [
            ("/p/bench/prompts", 1, 3),
            ("/", 1, 3),
        ]
        assert all(0 < row.warm_p50 <= row.warm_p95 for row in timings)
        with pytest.raises(Invalid, match="/p/nobody answered with 404"):
            pages.measure(address, token, ["/p/nobody"], requests=1)


def test_the_pages_of_a_project_exist_and_change_nothing(
    settings: Settings, database: Database
) -> None:
    token = token_of(database)
    of_rows = ("/rounds/1", "/prompts/1", "/comparisons/1", "round=", "prompt=")
    with TestClient(quick_app(settings, database), base_url="http://127.0.0.1") as client:
        for path in pages.paths_of("bench"):
            answer = client.get(path, headers={"authorization": f"Bearer {token}"})
            assert answer.status_code == 200 or any(part in path for part in of_rows), path


def test_timings_of_two_starts_are_one_distribution() -> None:
    once = PageTimings("/", (100.0,), (10.0, 20.0))
    both = once + PageTimings("/", (300.0,), (30.0,))
    assert both == PageTimings("/", (100.0, 300.0), (10.0, 20.0, 30.0))
    assert (both.first_p50, both.warm_p50) == (200.0, 20.0)
    assert both.warm_p95 == pytest.approx(29.0)
    with pytest.raises(Invalid, match="cannot be added"):
        _ = once + PageTimings("/p", (), ())


def test_an_address_without_a_host_is_refused() -> None:
    with pytest.raises(Invalid, match="not 'localhost:8000'"):
        pages.measure("localhost:8000", "", [])
