"""Who has asked for work lately is at work."""

from datetime import timedelta

from app.db import Database
from app.models import Assignment
from app.services.datasets import labelers_at_work
from app.services.queue import slot_leases
from tests.services import sample


def test_who_has_asked_for_work_lately_is_at_work(any_database: Database) -> None:
    with any_database.transaction() as session:
        project = sample.make_project(session)
        labelers = sample.make_labelers(session, project, 2)
        sample.make_comparison(session, project)
        assert not labelers_at_work.asked_lately(session)
        for labeler_id in labelers:
            sample.read_guidelines(session, project, labeler_id)
            assert slot_leases.claim(session, sample.SECRET, project, labeler_id)
            session.flush()
            assert labelers_at_work.asked_lately(session)
        long_ago, lately = session.query(Assignment).order_by(Assignment.id)
        for assignment, is_anybody_left in ((long_ago, True), (lately, False)):
            assignment.leased_at -= timedelta(seconds=labelers_at_work.LATELY_S + 1)
            session.flush()
            assert labelers_at_work.asked_lately(session) is is_anybody_left
