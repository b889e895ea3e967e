from typing import Any

from sqlalchemy.orm import Session

from app.models import Purpose
from app.services.quality import weight_proposals
from tests.services.sample_votes import make_comparison, make_project, vote


def test_who_contradicts_the_others_and_gold_is_proposed_a_weight_of_nothing(
    session: Session,
) -> None:
    project, (ada, bob, eve) = make_project(session)
    for number in range(30):
        options: dict[str, Any] = {}
        if number < 5:
            options = {"purpose": Purpose.GOLD, "gold_answer": {"preferred": "a"}}
        comparison = make_comparison(session, project, **options)
        right = comparison.gold_answer["preferred"] if comparison.gold_answer else "a"
        wrong = "b" if right == "a" else "a"
        shown = (0, 1) if number % 2 else (1, 0)
        for labeler in (ada, bob):
            vote(session, comparison, labeler, preferred=right, shown_order=shown)
        vote(session, comparison, eve, preferred=wrong, shown_order=shown)
    session.flush()
    proposal = weight_proposals.of_project(session, project.id)
    weights = [labeler.weight for labeler in proposal.weights]
    assert weights[2] == 0.0
    assert min(weights[:2]) > 1.0
    assert (proposal.changes.units, proposal.changes.flipped) == (30, 0)


def test_ties_and_withdrawn_comparisons_propose_nothing(session: Session) -> None:
    project, (ada, bob, _) = make_project(session)
    tied = make_comparison(session, project)
    withdrawn = make_comparison(session, project)
    for labeler in (ada, bob):
        vote(session, tied, labeler, preferred="tie")
        vote(session, withdrawn, labeler, preferred="a")
    withdrawn.is_withdrawn = True
    session.flush()
    proposal = weight_proposals.of_project(session, project.id)
    assert proposal.weights == ()
    assert proposal.changes.units == 0
