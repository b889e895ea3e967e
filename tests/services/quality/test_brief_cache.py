"""A brief result is kept for a time in proportion to what it took."""

from types import SimpleNamespace

import pytest
from sqlalchemy.orm import Session

from app.db import Database
from app.services.quality import brief_cache
from app.services.quality.brief_cache import cached_briefly


def test_a_brief_result_lives_twenty_times_as_long_as_it_took(
    any_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock_s = 100.0
    calls = 0
    monkeypatch.setattr(brief_cache, "time", SimpleNamespace(monotonic=lambda: clock_s))

    @cached_briefly
    def counted(session: Session) -> int:
        nonlocal calls, clock_s
        calls, clock_s = calls + 1, clock_s + 2
        return calls

    with any_database.reader() as session:
        assert counted(session) == 1
        clock_s = 102 + 39
        assert counted(session) == 1
        clock_s = 102 + 40
        assert counted(session) == 2
    with any_database.transaction() as session:
        assert counted(session) == 3
