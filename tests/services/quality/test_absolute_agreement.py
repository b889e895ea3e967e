"""Agreement on ratings and thumbs, out of the judgments of a project."""

import pytest
from sqlalchemy.orm import Session

from app.domain.alpha import Metric
from app.domain.measures import Measure, Undefined
from app.models import JudgmentKind, Project, User
from app.services.project import criteria
from app.services.project.criteria import CriterionSettings
from app.services.quality import absolute_agreement, agreement, labeler_quality
from tests.services.sample_votes import make_comparison, make_project, vote


def number(measure: Measure) -> float:
    assert isinstance(measure.value, float)
    return measure.value


def rated(session: Session, project: Project, who: list[User], *given: tuple[int, int]) -> None:
    comparison = make_comparison(session, project, kind=JudgmentKind.RATE)
    for labeler, (true, kind) in zip(who, given, strict=False):
        ratings = {"true": [true, 3], "kind": [kind, 3]}
        vote(session, comparison, labeler, ratings=ratings)


def test_ratings_are_reported_by_criterion_and_by_their_weighted_mean(session: Session) -> None:
    project, people = make_project(session)
    wanted = [CriterionSettings("true", weight=3), CriterionSettings("kind")]
    criteria.arrange(session, project, wanted, actor_id=None)
    for _ in range(4):
        rated(session, project, people, (1, 5), (2, 1), (1, 5))
    found = agreement.report(session, project.id)
    by_name = dict(found.absolute.criteria)
    assert list(by_name) == ["kind", "true"]
    assert number(by_name["true"].raw) == pytest.approx((1 / 3 + 1) / 2)
    assert number(by_name["true"].within_one) == 1.0
    assert number(by_name["kind"].within_one) == pytest.approx((1 / 3 + 1) / 2)
    assert by_name["true"].metric is Metric.ORDINAL
    mean = found.absolute.mean
    assert mean is not None
    assert (mean.units, mean.pairable, mean.judgments) == (8, 8, 24)
    # (3·1 + 5)/4 = 2, (3·2 + 1)/4 = 1.75, which is 2 in half points: everybody agrees.
    assert number(mean.raw) == 1.0
    assert (found.kinds, found.without_preference) == ({JudgmentKind.RATE: 12}, 0)
    assert found.overall.judgments == 12  # the orders that the means imply


def test_a_weight_changes_what_was_kept(session: Session) -> None:
    assert absolute_agreement.mean_ratings({"a": [1], "b": [5]}, {"a": 3.0}) == (2.0,)
    assert absolute_agreement.mean_ratings({"a": [1], "b": [5]}, {}) == (3.0,)
    assert absolute_agreement.mean_ratings({"a": [1]}, {"a": 0.0}) == ()


def test_thumbs_agree_on_up_and_down_and_prefer_nothing(session: Session) -> None:
    project, people = make_project(session)
    for said in (["up", "up", "down"], ["down", "down", "down"]):
        comparison = make_comparison(session, project, ("one",), kind=JudgmentKind.THUMBS)
        for labeler, thumb in zip(people, said, strict=True):
            vote(session, comparison, labeler, thumb=thumb, shown_order=(0,))
    found = agreement.report(session, project.id)
    assert found.absolute.thumbs is not None
    assert number(found.absolute.thumbs.raw) == pytest.approx((1 / 3 + 1) / 2)
    assert not found.has_orders
    assert [number(one) for _, one in found.absolute.labelers] == pytest.approx([0.75, 0.75, 0.5])
    ups = [one.thumbs_up for one in labeler_quality.of_project(session, project.id)]
    assert [(number(one), one.n) for one in ups] == [(0.5, 2), (0.5, 2), (0.0, 2)]


def test_texts_are_counted_and_have_no_agreement(session: Session) -> None:
    project, people = make_project(session)
    comparison = make_comparison(session, project, (), kind=JudgmentKind.WRITE)
    for labeler in people:
        vote(session, comparison, labeler, text="Hello.", shown_order=())
    found = agreement.report(session, project.id)
    assert (found.texts, found.has_orders) == (3, False)
    assert found.absolute == absolute_agreement.AbsoluteReport((), None, None, ())


def test_one_labeler_alone_has_no_agreement_and_is_told_why(session: Session) -> None:
    project, people = make_project(session)
    rated(session, project, people[:1], (1, 5))
    ((_, one), _) = agreement.report(session, project.id).absolute.criteria
    assert isinstance(one.alpha.value, Undefined)
    assert isinstance(one.within_one.value, Undefined)
