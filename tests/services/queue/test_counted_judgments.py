"""Standing, filling a slot and counting: the conditions and the predicates say the same."""

from itertools import product

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.models import Comparison, Judgment
from app.services.queue import comparisons, counted_judgments
from tests.services.sample_votes import make_comparison, make_project, vote


def _judgments(session: Session) -> list[Judgment]:
    """Make a judgment of each combination of states, on comparisons in force and withdrawn."""
    project, people = make_project(session, labelers=1)
    judgments = []
    for states in product([False, True], repeat=4):
        comparison = make_comparison(session, project)
        judgment = vote(session, comparison, people[0], preferred="a")
        judgment.is_current, judgment.is_retraction, judgment.is_surplus, is_withdrawn = states
        if is_withdrawn:
            comparisons.withdraw(session, comparison.id)
        judgments.append(judgment)
    session.flush()
    return judgments


def test_predicates_agree_with_the_conditions(session: Session) -> None:
    judgments = _judgments(session)
    for condition, predicate in (
        (counted_judgments.stands(), counted_judgments.is_standing),
        (counted_judgments.fills_slot(), counted_judgments.is_filling_slot),
    ):
        selected = set(session.scalars(select(Judgment.id).where(condition)))
        assert selected == {judgment.id for judgment in judgments if predicate(judgment)}


def test_a_judgment_counts_on_a_comparison_in_force(session: Session) -> None:
    judgments = _judgments(session)
    query = select(Judgment.id).join(Comparison, Comparison.id == Judgment.comparison_id)
    filling = {each.id for each in judgments if counted_judgments.is_filling_slot(each)}
    withdrawn = set(session.scalars(query.where(Comparison.is_withdrawn)))
    assert set(session.scalars(query.where(counted_judgments.counts()))) == filling - withdrawn
    assert len(filling - withdrawn) == 1
