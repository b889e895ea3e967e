"""What pages and the sweeper ask again and again costs no more after many judgments.

SQLite has no statistics of the tables, so that one condition too many can make it begin with all
rows. PostgreSQL has them, and may read a table of some thousand rows to save itself few lookups.
"""

from collections.abc import Callable
from functools import partial

import pytest
from sqlalchemy import event, select, text
from sqlalchemy.orm import Session

from app.bench import judged
from app.db import Database
from app.domain.states import RoundState
from app.models import Membership, Project, Purpose, Round, User
from app.services.judging import queue_progress
from app.services.project import instructions
from app.services.queue import queue_order
from app.services.rounds import gates
from tests.services import sample_votes, sqlite_costs
from tests.services.rounds import trained

Asked = Callable[[Session, Project, Round, User], object]


def claim(session: Session, project: Project, _round: Round, labeler: User) -> None:
    assert queue_order.find(session, project.id, labeler.id, [Purpose.TRAIN]) is not None


def with_others(session: Session, project: Project, _round: Round, labeler: User) -> None:
    assert queue_progress._with_others(session, project.id, labeler.id) == (0, None)


def labelers(session: Session, _project: Project, round_: Round, _labeler: User) -> None:
    assert gates.labelers_of(session, round_, RoundState.LABELING) is not None


@pytest.mark.parametrize("asked", [claim, with_others, labelers])
@pytest.mark.parametrize("by_asker", [True, False], ids=["own", "others"])
def test_many_judgments_cost_no_more(database: Database, asked: Asked, by_asker: bool) -> None:
    with database.transaction() as session:
        project, (asker, other, *_) = sample_votes.make_project(session)
        round_ = trained.add_round(session, project, 1)
        for _ in range(24):
            sample_votes.make_comparison(session, project, round_id=round_.id)
        few = sqlite_costs.steps(session, lambda: asked(session, project, round_, asker))
        for _ in range(150):
            done = sample_votes.make_comparison(session, project, overlap=1, round_id=round_.id)
            sample_votes.vote(session, done, asker if by_asker else other, preferred="a")
        many = sqlite_costs.steps(session, lambda: asked(session, project, round_, asker))
    assert many < 1.5 * few


def test_a_claim_costs_no_more_with_a_long_queue(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_order, "WINDOW", 32)
    with database.transaction() as session:
        project, (asker, other, *_) = sample_votes.make_project(session)
        nearest = sample_votes.make_comparison(session, project)
        for judge in (asker, other):
            sample_votes.vote(session, nearest, judge, preferred="a")

        def cost_with(more: int) -> int:
            """Return what a claim costs that finds nothing in the first of three levels."""
            for _ in range(more):
                for priority in (0, -1):
                    sample_votes.make_comparison(session, project, priority=priority)
            return sqlite_costs.steps(session, lambda: found.append(_next(session, project, asker)))

        found: list[int | None] = []
        few, many, very_many = (cost_with(more) for more in (2, 40, 80))
    assert found[0] not in (None, nearest.id)
    assert found == found[:1] * 3
    assert many < 2 * few  # the end of the window is looked up, and no comparison before it
    assert very_many < 1.1 * many


# The labeler has judged the 60 oldest open comparisons, and responded to 60 other prompts.
_JUDGED = """
INSERT INTO assignment (project_id, comparison_id, slot_id, labeler_id, lease_token, state,
  shown_order, leased_at, expires_at, skip_reason, skip_comment)
SELECT project_id, comparison.id, slot.id, :labeler, 'x', 'submitted',
  '[0, 1]', now(), now(), '', ''
FROM comparison JOIN slot ON slot.comparison_id = comparison.id AND slot.n = 0
WHERE is_open ORDER BY comparison.id LIMIT 60
"""
_DEMONSTRATED = """
INSERT INTO demonstration (project_id, prompt_id, text, content_hash, source, author_id, created_at)
SELECT project_id, id, 'x', 'x', '', :labeler, now() FROM prompt ORDER BY id LIMIT 60
"""


def test_a_claim_on_postgresql_reads_a_few_rows_however_much_was_judged(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judged, "OPEN", 3_000)
    database = Database(postgres_url)
    project_id = judged.seed(database, 6_000).project_id
    read = text("SELECT sum(seq_tup_read + idx_tup_fetch) FROM pg_stat_xact_user_tables")
    with database.transaction() as session:
        newest = select(Membership.user_id).order_by(Membership.id.desc()).limit(1)
        labeler_id = session.scalars(newest).one()  # has judged 120, and nobody may judge those
        find = partial(queue_order.find, session, project_id, labeler_id, [Purpose.TRAIN])

        def rows_read() -> int:
            before = session.scalars(read).one()
            assert find() is not None
            return int(session.scalars(read).one() - before)

        assert 0 < rows_read() < 40
        first = find()
        for statement in (_JUDGED, _DEMONSTRATED):
            session.execute(text(statement), {"labeler": labeler_id})
        session.execute(text("ANALYZE assignment, demonstration"))
        # Two for each that is passed over: itself, and that it was judged.
        assert 2 * 60 <= rows_read() < 2 * 60 + 100
        assert find() != first
    database.dispose()


def _next(session: Session, project: Project, labeler: User) -> int | None:
    return queue_order.find(session, project.id, labeler.id, [Purpose.TRAIN])


def test_judgments_are_counted_by_instruction_from_an_index_alone(database: Database) -> None:
    said: list[str] = []
    with database.transaction() as session:
        project, _people = sample_votes.make_project(session)

        def keep(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
            said.append(statement)

        event.listen(database.engine, "before_cursor_execute", keep)
        instructions.uses(session, project.id)
        event.remove(database.engine, "before_cursor_execute", keep)
        counts = [each for each in said if "FROM judgment" in each]
        assert len(counts) == 1
        explained = f"EXPLAIN QUERY PLAN {counts[0]}"
        rows = session.connection().exec_driver_sql(explained, (project.id,))
        plan = " ".join(str(row) for row in rows)
    assert "COVERING INDEX ix_judgment_instruction" in plan
    assert "TEMP B-TREE" not in plan
