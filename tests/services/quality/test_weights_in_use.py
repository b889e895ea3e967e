"""Weights in use: put to use, taken back, and taken into the plans of new rounds."""

from datetime import timedelta

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.domain.judgment_kinds import JudgmentKind
from app.domain.plan import RoundPlan
from app.domain.reward_parts import LabelerWeight, WeightSource
from app.domain.reward_plan import RewardPlan
from app.errors import Conflict, Invalid
from app.models import AuditEvent, Project, User
from app.services.quality import weights_in_use
from tests.services.sample_votes import make_project

FIRST = {"L2": 0.5, "L3": 1.5}
SECOND = {"L2": 2.0}


@pytest.fixture
def project(session: Session) -> Project:
    return make_project(session)[0]


def of(weights: dict[str, float]) -> list[LabelerWeight]:
    return [LabelerWeight(name, weight) for name, weight in weights.items()]


def use(session: Session, project: Project, weights: dict[str, float]) -> None:
    user = session.scalars(select(User).order_by(User.id)).first()
    weights_in_use.use(session, project, of(weights), actor_id=user.id if user else None)


def take_back(session: Session, project: Project) -> weights_in_use.WeightsInUse:
    return weights_in_use.take_back(session, project, since=None, actor_id=None)


def test_weights_in_use_have_a_time_and_a_name(session: Session, project: Project) -> None:
    assert weights_in_use.of_project(session, project).weights == {}
    use(session, project, FIRST)
    session.refresh(project)
    in_use = weights_in_use.of_project(session, project)
    assert (in_use.weights, in_use.by, in_use.earlier) == (FIRST, "Owner", None)
    assert in_use.since is not None
    event = session.scalars(select(AuditEvent).order_by(AuditEvent.id.desc())).first()
    assert event is not None
    assert (event.action, event.details) == ("labeler_weights.use", {"weights": FIRST})


def test_weights_that_are_taken_back_give_way_to_those_before(
    session: Session, project: Project
) -> None:
    use(session, project, FIRST)
    use(session, project, SECOND)
    assert weights_in_use.of_project(session, project).earlier == FIRST
    replaced = weights_in_use.of_project(session, project).since
    restored = take_back(session, project)
    assert (restored.weights, restored.by) == (FIRST, "")  # restored by nobody in particular
    assert restored.since is not None
    assert replaced is not None
    assert restored.since > replaced
    assert take_back(session, project).weights == {}
    with pytest.raises(Conflict, match="no labeler weights are in use"):
        take_back(session, project)


def test_the_same_weights_again_change_nothing(session: Session, project: Project) -> None:
    use(session, project, FIRST)
    since = weights_in_use.of_project(session, project).since
    use(session, project, FIRST)
    in_use = weights_in_use.of_project(session, project)
    assert (in_use.since, in_use.earlier) == (since, None)


def test_a_repeated_request_takes_back_once(session: Session, project: Project) -> None:
    use(session, project, FIRST)
    use(session, project, SECOND)
    since = weights_in_use.of_project(session, project).since
    assert since is not None
    weights_in_use.take_back(session, project, since=since, actor_id=None)
    with pytest.raises(Conflict, match=r"were changed at \d{4}-\d\d-\d\d \d\d:\d\d UTC"):
        weights_in_use.take_back(
            session, project, since=since + timedelta(seconds=1), actor_id=None
        )
    assert weights_in_use.of_project(session, project).weights == FIRST


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ({}, "name at least one labeler"),
        ({"L9": 1.0}, "has no labeler 'L9'; its labelers are L1, L2, L3, L4"),
        ({"L2": -1.0}, "weight of labeler L2 must be 0.0 to 100.0, not -1.0"),
        ({"L2": float("nan")}, "not nan"),
    ],
)
def test_wrong_weights_are_refused_by_name(
    session: Session, project: Project, weights: dict[str, float], words: str
) -> None:
    with pytest.raises(Invalid, match=words):
        weights_in_use.use(session, project, of(weights), actor_id=None)
    assert weights_in_use.of_project(session, project).weights == {}


@pytest.mark.parametrize("kind", [JudgmentKind.RATE, JudgmentKind.THUMBS, JudgmentKind.WRITE])
def test_ratings_thumbs_and_texts_cannot_be_weighted(session: Session, kind: JudgmentKind) -> None:
    k = {JudgmentKind.RATE: 2, JudgmentKind.THUMBS: 1, JudgmentKind.WRITE: 0}[kind]
    project, _ = make_project(session, judgment_kind=kind, k=k)
    assert weights_in_use.why_not(project)
    with pytest.raises(Invalid, match="cannot be weighted: "):
        weights_in_use.use(session, project, of(FIRST), actor_id=None)


def test_only_a_plan_without_weights_takes_those_in_use(session: Session, project: Project) -> None:
    own = RoundPlan(reward=RewardPlan(labelers=(LabelerWeight("L2", 3.0),)))
    without = RoundPlan(reward=RewardPlan(labelers=()))
    assert weights_in_use.in_plan(session, project, RoundPlan()).reward == without.reward
    use(session, project, FIRST)
    assert weights_in_use.in_plan(session, project, own) == own
    assert weights_in_use.in_plan(session, project, without) == without
    taken = weights_in_use.in_plan(session, project, RoundPlan()).reward
    assert taken.labelers == (LabelerWeight("L2", 0.5), LabelerWeight("L3", 1.5))
    assert taken.labelers_from is WeightSource.PROJECT


def test_the_next_round_has_the_weights_in_use_or_else_its_predecessors_own(
    session: Session, project: Project
) -> None:
    own = RoundPlan(reward=RewardPlan(labelers=(LabelerWeight("L2", 3.0),)))
    assert weights_in_use.in_next(session, project, own) == own
    use(session, project, FIRST)
    taken = weights_in_use.in_next(session, project, own)
    assert taken.reward.labelers_from is WeightSource.PROJECT
    take_back(session, project)
    assert weights_in_use.in_next(session, project, taken).reward.labelers == ()


def test_one_labeler_has_one_weight(session: Session, project: Project) -> None:
    with pytest.raises(Invalid, match="labeler L2 must have one weight, not 2"):
        weights_in_use.use(session, project, of(FIRST) + of(SECOND), actor_id=None)
