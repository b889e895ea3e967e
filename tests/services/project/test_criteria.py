"""Criteria: kept in order, never lost once a judgment names them."""

import pytest
from sqlalchemy.orm import Session

from app.domain.judgment_kinds import JudgmentKind
from app.errors import Invalid
from app.models import Comparison
from app.services.project import criteria, projects
from app.services.project.criteria import CriterionSettings
from tests.services import sample_votes


def test_a_project_that_rates_is_never_without_a_criterion(session: Session) -> None:
    project, _ = sample_votes.make_project(session, judgment_kind=JudgmentKind.RATE, k=2)
    assert [one.name for one in criteria.active(session, project.id)] == ["quality"]
    with pytest.raises(Invalid, match="weight other than 0"):
        criteria.arrange(session, project, [], actor_id=None)
    with pytest.raises(Invalid, match="weight other than 0"):
        criteria.arrange(session, project, [CriterionSettings("mute", weight=0)], actor_id=None)


def test_a_project_that_starts_to_rate_gets_its_first_criterion(session: Session) -> None:
    project, people = sample_votes.make_project(session)
    assert criteria.active(session, project.id) == []
    projects.edit(session, project, {"judgment_kind": "rate", "k": 3}, actor_id=people[0].id)
    assert [one.name for one in criteria.active(session, project.id)] == ["quality"]


def test_criteria_come_in_the_order_given_and_change_in_place(session: Session) -> None:
    project, _ = sample_votes.make_project(session)
    criteria.arrange(
        session,
        project,
        [CriterionSettings(" true "), CriterionSettings("kind", "Be nice.")],
        actor_id=None,
    )
    criteria.arrange(
        session,
        project,
        [
            CriterionSettings("kind", weight=2),
            CriterionSettings("short"),
            CriterionSettings("true"),
        ],
        actor_id=None,
    )
    found = criteria.of_project(session, project.id)
    assert [(one.name, one.help, one.weight) for one in found] == [
        ("kind", "", 2.0),
        ("short", "", 1.0),
        ("true", "", 1.0),
    ]
    assert criteria.weights(session, project.id) == {"kind": 2.0, "short": 1.0, "true": 1.0}


def test_one_that_a_judgment_names_goes_out_of_use_and_any_other_goes(session: Session) -> None:
    project, people = sample_votes.make_project(session, judgment_kind=JudgmentKind.RATE)
    criteria.arrange(
        session,
        project,
        [CriterionSettings('"a\\', weight=3), CriterionSettings("b")],
        actor_id=None,
    )
    comparison: Comparison = sample_votes.make_comparison(session, project)
    sample_votes.vote(session, comparison, people[0], ratings={'"a\\': [1, 2]})
    found = criteria.arrange(session, project, [CriterionSettings("c")], actor_id=None)
    assert [(one.name, one.is_active) for one in found] == [("c", True), ('"a\\', False)]
    assert criteria.weights(session, project.id)['"a\\'] == 3.0


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        ([CriterionSettings("")], "1 to 60 characters"),
        ([CriterionSettings("x" * 61)], "1 to 60 characters"),
        ([CriterionSettings("a\0b")], "1 to 60 characters"),
        ([CriterionSettings("Kind"), CriterionSettings("kind ")], "appears twice"),
        ([CriterionSettings("a", weight=-1001)], "must be -1000 to 1000, not -1001"),
        ([CriterionSettings("a", weight=float("nan"))], "not nan"),
        ([CriterionSettings("a", "x" * 1001)], "at most 1000"),
        ([CriterionSettings(str(n)) for n in range(13)], "at most 12"),
    ],
)
def test_criteria_that_make_no_sense_are_refused(
    session: Session, wanted: list[CriterionSettings], reason: str
) -> None:
    project, _ = sample_votes.make_project(session)
    with pytest.raises(Invalid, match=reason):
        criteria.arrange(session, project, wanted, actor_id=None)
