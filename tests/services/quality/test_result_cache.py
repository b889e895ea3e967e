"""A cached result equals what would be computed."""

from types import SimpleNamespace

import pytest
from sqlalchemy.orm import Session

from app.db import Database
from app.services.quality import agreement, labeler_quality, result_cache
from app.services.quality.result_cache import cached, cached_briefly
from app.services.queue import comparisons
from tests.services.sample_votes import make_comparison, make_project, vote


def test_a_result_is_cached_until_a_labeler_judges(any_database: Database) -> None:
    calls: list[int] = []

    @cached
    def counted(session: Session, project_id: int) -> int:
        calls.append(project_id)
        return len(calls)

    with any_database.transaction() as session:
        project, people = make_project(session)
        comparison = make_comparison(session, project)
    for _ in range(2):
        with any_database.reader() as session:
            assert counted(session, project.id) == 1
    with any_database.transaction() as session:
        vote(session, session.merge(comparison), people[0], preferred="a")
    with any_database.reader() as session:
        assert counted(session, project.id) == 2


def test_a_withdrawal_and_a_further_judgment_show_at_once(any_database: Database) -> None:
    with any_database.transaction() as session:
        project, people = make_project(session)
        first, second = (make_comparison(session, project) for _ in range(2))
        for comparison in (first, second):
            vote(session, comparison, people[0], preferred="a")
            vote(session, comparison, people[1], preferred="b")
    with any_database.reader() as session:
        assert len(agreement.lowest(session, project.id)) == 2
        assert len(labeler_quality.of_project(session, project.id)) == 2
    with any_database.transaction() as session:
        comparisons.withdraw(session, first.id)
    with any_database.reader() as session:
        assert [name for name, _ in agreement.lowest(session, project.id)] == [second.id]
        assert agreement.report(session, project.id).judgments == 2


def test_results_of_a_writing_session_are_not_cached(database: Database) -> None:
    with database.transaction() as session:
        project, people = make_project(session)
        comparison = make_comparison(session, project)
    try:
        with database.transaction() as session:
            vote(session, session.merge(comparison), people[0], preferred="a")
            assert agreement.report(session, project.id).judgments == 1
            raise InterruptedError
    except InterruptedError:
        pass
    with database.transaction() as session:
        vote(session, session.merge(comparison), people[0], both_bad=True)
    with database.reader() as session:
        assert agreement.report(session, project.id).without_preference == 1


def test_a_brief_result_lives_twenty_times_as_long_as_it_took(
    any_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock_s = 100.0
    calls = 0
    monkeypatch.setattr(result_cache, "time", SimpleNamespace(monotonic=lambda: clock_s))

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
