"""A queue that many threads empty at once, and what must be true of it afterwards."""

import random
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

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


def empty(
    database: Database, *, threads: int, comparisons: int, overlap: int, seed: int = 1
) -> list[str]:
    """Let a labeler per thread judge everything; return what is wrong afterwards."""
    with database.transaction() as session:
        project = sample.make_project(session, overlap=overlap)
        labelers = sample.make_labelers(session, project, threads)
        for _ in range(comparisons):
            sample.make_comparison(session, project)
        project_id = project.id
    with ThreadPoolExecutor(threads) as pool:
        judged = list(
            pool.map(
                lambda labeler_id: _label_everything(database, project_id, labeler_id, seed),
                labelers,
            )
        )
    with database.reader() as session:
        return faults(
            session, project_id, judged=sum(judged), comparisons=comparisons, overlap=overlap
        )


def _label_everything(database: Database, project_id: int, labeler_id: int, seed: int) -> int:
    judged = 0
    while True:
        assignment, state = _again(_claim, database, project_id, labeler_id)
        if assignment is None:
            if not state.open and not state.with_others:
                return judged
            time.sleep(0.05)
            continue
        given = sample.submission(assignment, key=f"{labeler_id}-{assignment.id:08d}")
        draw = random.Random(f"{seed} {assignment.id}")
        for _ in range(draw.choice([1, 1, 1, 2])):  # some are sent twice
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


def faults(
    session: Session, project_id: int, *, judged: int, comparisons: int, overlap: int
) -> list[str]:
    """Compare the rows with exactly K judgments of each comparison, and nothing left over."""
    in_project = Comparison.project_id == project_id
    rows = select(Comparison).where(in_project)
    active = session.execute(
        select(Judgment.comparison_id, Judgment.labeler_id).where(
            Judgment.project_id == project_id, Judgment.is_current, ~Judgment.is_surplus
        )
    ).all()
    counts = Counter(comparison for comparison, _ in active)
    slots = select(Slot.state).join(Comparison, Comparison.id == Slot.comparison_id)
    assignments = select(func.count()).select_from(Assignment)
    facts = {
        "judgments": (judged, comparisons * overlap),
        "active judgments": (len(active), comparisons * overlap),
        "comparisons with another number than K": (
            sum(count != overlap for count in counts.values()),
            0,
        ),
        "judgments of one labeler twice": (len(active) - len(set(active)), 0),
        "assignments": (
            session.scalar(assignments.where(Assignment.project_id == project_id)),
            len(active),
        ),
        "states of slots": (set(session.scalars(slots.where(in_project))), {SlotState.DONE}),
        "counts of slots": (
            {(row.open_slots, row.done_slots) for row in session.scalars(rows)},
            {(0, overlap)},
        ),
    }
    return [
        f"{name}: {found}, not {wanted}"
        for name, (found, wanted) in facts.items()
        if found != wanted
    ]
