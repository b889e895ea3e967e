"""Searching comparisons, one comparison in detail, and settling it."""

from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import Database
from app.errors import Invalid, NotFound
from app.models import Membership, Purpose
from app.services.quality import adjudication, agreement, comparison_details, comparison_search
from app.services.quality.comparison_search import ComparisonFilter
from tests.services.sample_votes import make_comparison, make_project, vote


def ids(session: Session, project_id: int, selection: ComparisonFilter) -> list[int]:
    return [
        row.comparison.id for row in comparison_search.page(session, project_id, selection).rows
    ]


def test_each_state_finds_its_comparisons(any_database: Database) -> None:
    with any_database.transaction() as session:
        project, people = make_project(session)
        wanting = make_comparison(session, project, overlap=2).id
        done = make_comparison(session, project, ("Ja, geöffnet.", "no"), overlap=2)
        vote(session, done, people[0], preferred="a", flags=["unsafe"])
        vote(session, done, people[1], preferred="b")
        gold = make_comparison(session, project, purpose=Purpose.GOLD).id
        assert set(ids(session, project.id, ComparisonFilter(state="open"))) == {wanting, gold}
        assert ids(session, project.id, ComparisonFilter(state="judged")) == [done.id]
        assert ids(session, project.id, ComparisonFilter(state="flagged")) == [done.id]
        assert ids(session, project.id, ComparisonFilter(state="low")) == [done.id]
        assert ids(session, project.id, ComparisonFilter(purpose=Purpose.GOLD)) == [gold]
        assert ids(session, project.id, ComparisonFilter(search="geöffnet")) == [done.id]
        assert ids(session, project.id, ComparisonFilter(search=str(gold))) == [gold]
        assert ids(session, project.id, ComparisonFilter(state="withdrawn")) == []
        assert ids(session, project.id, ComparisonFilter(round_number=7)) == []  # there is none
        assert ids(session, project.id, ComparisonFilter(search="9" * 40)) == []
        assert ids(session, project.id, ComparisonFilter(search="geoff", state="low")) == [done.id]
        assert ids(session, project.id, ComparisonFilter(search="öffnet")) == []


def test_a_comparison_shows_every_vote_and_how_far_they_agree(session: Session) -> None:
    project, people = make_project(session)
    comparison = make_comparison(session, project)
    for who, said in zip(people, "aab", strict=True):
        vote(session, comparison, who, preferred=said)
    detail = comparison_details.detail(session, project.id, comparison.id)
    groups = [judgment.groups for judgment in detail.judgments]
    assert groups == [(("A",), ("B",))] * 2 + [(("B",), ("A",))]
    assert (detail.firsts(0), detail.firsts(1)) == ((2, 0), (1, 0))
    assert detail.agreement == pytest.approx(1 / 3)


def test_another_projects_comparison_is_not_found(session: Session) -> None:
    mine, _ = make_project(session)
    other, _ = make_project(session)
    with pytest.raises(NotFound):
        comparison_details.detail(session, mine.id, make_comparison(session, other).id)


def test_a_settlement_is_not_a_vote_and_the_newest_one_is_current(session: Session) -> None:
    project, people = make_project(session)
    comparison = make_comparison(session, project)
    vote(session, comparison, people[0], preferred="a")
    before = agreement.report(session, project.id)
    for preferred in ("a", "b"):
        adjudication.settle(
            session,
            comparison,
            reason="gap",
            adjudicator_id=people[0].id,
            preferred=preferred,
        )
    assert agreement.report(session, project.id) == before
    settled = comparison_details.detail(session, project.id, comparison.id).settled
    assert settled is not None
    assert settled.preferred == "b"


@pytest.mark.parametrize(
    ("answer", "rule"),
    [
        ({"reason": "whim", "preferred": "a"}, "reason"),
        ({"reason": "gap"}, "choose which response is better"),
        ({"reason": "gap", "preferred": "left"}, "not 'left'"),
    ],
)
def test_an_invalid_settlement_is_refused(
    session: Session, answer: dict[str, Any], rule: str
) -> None:
    project, people = make_project(session)
    comparison = make_comparison(session, project)
    with pytest.raises(Invalid, match=rule):
        adjudication.settle(session, comparison, adjudicator_id=people[0].id, **answer)


def test_two_labelers_are_found_where_they_disagree(any_database: Database) -> None:
    with any_database.transaction() as session:
        project, people = make_project(session)
        first, second, third = people
        disputed, agreed, bad, alone = (make_comparison(session, project).id for _ in range(4))
        for comparison_id, choices in (
            (disputed, ((first, "a"), (second, "b"), (third, "b"))),
            (agreed, ((first, "a"), (second, "a"), (third, "b"))),
            (bad, ((first, "a"),)),
            (alone, ((first, "tie"),)),
        ):
            comparison = comparison_details.get(session, project.id, comparison_id)
            for person, preferred in choices:
                vote(session, comparison, person, preferred=preferred)
        vote(session, comparison_details.get(session, project.id, bad), second, both_bad=True)
        names = dict(
            session.execute(
                select(Membership.user_id, Membership.pseudonym).where(
                    Membership.project_id == project.id
                )
            ).all()
        )
        one, two, three = (names[person.id] for person in people)
        assert ids(session, project.id, ComparisonFilter(between=(one, two))) == [disputed]
        assert ids(session, project.id, ComparisonFilter(between=(two, one))) == [disputed]
        assert ids(session, project.id, ComparisonFilter(between=(two, three))) == [agreed]
        assert ids(session, project.id, ComparisonFilter(between=(one, "L99"))) == []
