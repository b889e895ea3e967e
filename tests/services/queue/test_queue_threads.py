"""The queue under many hands: never more than K, never one labeler twice, nothing left over."""

import random
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from app.db import Database
from app.domain.assignment import QueueState
from app.domain.states import SlotState
from app.models import Assignment, Comparison, Judgment, Project, Slot
from app.services.judging import labeling, queue_progress, submissions
from app.services.queue import slot_leases
from tests.services import sample

P = ParamSpec("P")
T = TypeVar("T")

THREADS = 24
COMPARISONS = 400
OVERLAP = 3


def _label_everything(database: Database, project_id: int, labeler_id: int) -> int:
    judged = 0
    while True:
        assignment, state = _again(_claim, database, project_id, labeler_id)
        if assignment is None:
            if not state.open and not state.with_others:
                return judged
            time.sleep(0.05)
            continue
        given = sample.submission(assignment, key=f"{labeler_id}-{assignment.id:08d}")
        for _ in range(random.Random(assignment.id).choice([1, 1, 1, 2])):  # some are sent twice
            _again(_submit, database, project_id, labeler_id, given)
        judged += 1


def _claim(
    database: Database, project_id: int, labeler_id: int
) -> tuple[Assignment | None, QueueState]:
    with database.transaction() as session:
        project = session.get_one(Project, project_id)
        assignment = slot_leases.claim(session, sample.SECRET, project, labeler_id)
        return assignment, queue_progress.state(session, project, labeler_id)


def _submit(
    database: Database, project_id: int, labeler_id: int, given: submissions.Submission
) -> None:
    with database.transaction() as session:
        project = session.get_one(Project, project_id)
        labeling.submit(session, project, labeler_id, given)


def _again(action: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
    """Do as clients do when the database was too busy: try again, with the same key."""
    for _ in range(20):
        try:
            return action(*args, **named)
        except OperationalError:
            time.sleep(0.05)
    return action(*args, **named)


def _check(session: Session, project_id: int) -> None:
    active = session.execute(
        select(Judgment.comparison_id, Judgment.labeler_id).where(
            Judgment.project_id == project_id, Judgment.is_current, ~Judgment.is_surplus
        )
    ).all()
    assert len(active) == COMPARISONS * OVERLAP
    assert set(Counter(comparison for comparison, _ in active).values()) == {OVERLAP}
    assert len(set(active)) == len(active)
    assert session.scalar(select(func.count()).select_from(Assignment)) == len(active)
    assert set(session.scalars(select(Slot.state))) == {SlotState.DONE}
    counts = session.execute(select(Comparison.open_slots, Comparison.done_slots)).all()
    assert set(counts) == {(0, OVERLAP)}


@pytest.mark.slow
def test_24_threads_give_every_comparison_exactly_k_judgments(any_database: Database) -> None:
    with any_database.transaction() as session:
        project = sample.make_project(session, overlap=OVERLAP)
        labelers = sample.make_labelers(session, project, THREADS)
        for _ in range(COMPARISONS):
            sample.make_comparison(session, project)
        project_id = project.id
    with ThreadPoolExecutor(THREADS) as pool:
        judged = list(
            pool.map(
                lambda labeler_id: _label_everything(any_database, project_id, labeler_id),
                labelers,
            )
        )
    assert sum(judged) == COMPARISONS * OVERLAP
    with any_database.reader() as session:
        _check(session, project_id)
