"""What is kept is what would be computed."""

from sqlalchemy.orm import Session

from app.db import Database
from app.services.quality import agreement, labeler_quality
from app.services.quality.result_cache import cached
from app.services.queue import comparisons
from tests.services.sample_votes import make_comparison, make_project, vote


def test_nothing_is_computed_twice_until_somebody_judges(any_database: Database) -> None:
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
        for one in (first, second):
            vote(session, one, people[0], preferred="a")
            vote(session, one, people[1], preferred="b")
    with any_database.reader() as session:
        assert len(agreement.lowest(session, project.id)) == 2
        assert len(labeler_quality.of_project(session, project.id)) == 2
    with any_database.transaction() as session:
        comparisons.withdraw(session, first.id)
    with any_database.reader() as session:
        assert [name for name, _ in agreement.lowest(session, project.id)] == [second.id]
        assert agreement.report(session, project.id).judgments == 2


def test_what_a_writer_sees_is_not_kept(database: Database) -> None:
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
