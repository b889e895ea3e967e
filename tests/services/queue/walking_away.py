"""Labelers who walk away with a lease in hand, and how many claims the others need, by a clock
that is moved.
"""

import random
from collections import Counter
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db import Database
from app.domain.states import AssignmentState
from app.models import Assignment, Comparison, Project
from app.services.judging import labeling, queue_progress
from app.services.queue import slot_leases
from tests.services import sample

LABELERS, WALK_AWAY, COMPARISONS, OVERLAP = 20, 2, 80, 3
STEPS_MOST = 5000
AGAIN_S = 60.0
"""When somebody who got nothing asks again, while the others wait as well."""


@dataclass(frozen=True, slots=True)
class Worked:
    """Claims, the fewest that were possible, and what the queue looks like at the end."""

    claims: int
    fewest: int
    expired: int
    unfinished: int  # comparisons without K judgments
    waiting: int  # labelers who wait for judgments that nobody is given


def label(url: str, seed: int) -> Worked:
    """Let people label until nothing is left for them, while a tenth of them walk away."""
    clock = sample.Clock()
    database = Database(url, clock=clock)
    with database.transaction() as session:
        project = sample.make_project(session, overlap=OVERLAP)
        people = sample.make_labelers(session, project, LABELERS)
        for _ in range(COMPARISONS):
            sample.make_comparison(session, project)
        waiting = _work(session, clock, project, people, seed)
        rows = session.scalars(select(Comparison).where(Comparison.project_id == project.id))
        unfinished = sum((row.done_slots, row.open_slots) != (OVERLAP, 0) for row in rows)
        of_project = select(func.count()).where(Assignment.project_id == project.id)
        claims = session.scalar(of_project) or 0
        expired = session.scalar(of_project.where(Assignment.state == AssignmentState.EXPIRED)) or 0
    database.dispose()
    return Worked(claims, COMPARISONS * OVERLAP, expired, unfinished, waiting)


def _work(
    session: Session, clock: sample.Clock, project: Project, people: list[int], seed: int
) -> int:
    """Let people work in any order, a minute a judgment; return how many wait in vain."""
    draw = random.Random(seed)
    leaving = {
        person: draw.randrange(2, COMPARISONS * OVERLAP // LABELERS)
        for person in draw.sample(people, WALK_AWAY)
    }
    judged: Counter[int] = Counter()
    working = list(people)
    for _ in range(STEPS_MOST):
        if not working:
            return 0
        person = draw.choice(working)
        clock.forward(seconds=60 / LABELERS)
        got = slot_leases.claim(session, sample.SECRET, project, person, draw=sample.never_mix())
        if leaving.get(person) == judged[person]:
            working.remove(person)  # with a lease in hand
        elif got is not None:
            labeling.submit(session, project, person, sample.submission(got))
            judged[person] += 1
        elif _is_over(session, project, person):
            working.remove(person)
        else:
            clock.forward(seconds=AGAIN_S)
    return len(working)


def _is_over(session: Session, project: Project, person: int) -> bool:
    state = queue_progress.state(session, project, person)
    return not state.open and not state.with_others
