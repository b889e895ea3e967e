"""Nothing starves: when labelers walk away, every comparison still gets its judgments, and soon."""

import random
from collections import Counter

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db import Database
from app.domain.states import AssignmentState
from app.models import Assignment, Comparison, Project
from app.services.judging import labeling, queue_progress
from app.services.queue import slot_leases
from tests.services import sample

LABELERS, WALK_AWAY, COMPARISONS, OVERLAP = 20, 2, 80, 3
CLAIMS_MOST = 1.05
STEPS_MOST = 5000


def _work(
    session: Session, clock: sample.Clock, project: Project, people: list[int], seed: int
) -> None:
    """Let people work in any order, a minute a judgment, until nothing is left for them."""
    draw = random.Random(seed)
    leaving = {
        person: draw.randrange(2, COMPARISONS * OVERLAP // LABELERS)
        for person in draw.sample(people, WALK_AWAY)
    }
    judged: Counter[int] = Counter()
    working = list(people)
    for _ in range(STEPS_MOST):
        if not working:
            return
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
    raise AssertionError(f"{len(working)} still wait for judgments that nobody is given")


def _is_over(session: Session, project: Project, person: int) -> bool:
    state = queue_progress.state(session, project, person)
    return not state.open and not state.with_others


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_every_comparison_reaches_k_when_a_tenth_walks_away(any_url: str, seed: int) -> None:
    clock = sample.Clock()
    database = Database(any_url, clock=clock)
    with database.transaction() as session:
        project = sample.make_project(session, overlap=OVERLAP)
        people = sample.make_labelers(session, project, LABELERS)
        for _ in range(COMPARISONS):
            sample.make_comparison(session, project)
        _work(session, clock, project, people, seed)
        counts = set(session.execute(select(Comparison.done_slots, Comparison.open_slots)).all())
        assert counts == {(OVERLAP, 0)}
        states = Counter(session.scalars(select(Assignment.state)))
        assert states[AssignmentState.EXPIRED] == WALK_AWAY
        claims = session.scalar(select(func.count()).select_from(Assignment)) or 0
        assert claims <= CLAIMS_MOST * COMPARISONS * OVERLAP
    database.dispose()
