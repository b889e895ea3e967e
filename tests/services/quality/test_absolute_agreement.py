"""Agreement on ratings and thumbs, computed from the judgments of a project."""

import pytest
from sqlalchemy.orm import Session

from app.domain.judgment_kinds import JudgmentKind
from app.domain.krippendorff import DistanceMetric
from app.domain.measures import Measure, Undefined
from app.models import Project, User
from app.services.project import criteria
from app.services.project.criteria import CriterionSettings
from app.services.quality import absolute_agreement, agreement, labeler_quality
from tests.services.sample_votes import make_comparison, make_project, vote


def number(measure: Measure) -> float:
    assert isinstance(measure.value, float)
    return measure.value


def rate(
    session: Session, project: Project, labelers: list[User], *ratings: tuple[int, int]
) -> None:
    comparison = make_comparison(session, project, kind=JudgmentKind.RATE)
    for labeler, (true, kind) in zip(labelers, ratings, strict=False):
        by_criterion = {"true": [true, 3], "kind": [kind, 3]}
        vote(session, comparison, labeler, ratings=by_criterion)


def test_ratings_are_reported_by_criterion_and_by_their_weighted_mean(session: Session) -> None:
    project, people = make_project(session)
    wanted = [CriterionSettings("true", weight=3), CriterionSettings("kind")]
    criteria.arrange(session, project, wanted, actor_id=None)
    for _ in range(4):
        rate(session, project, people, (1, 5), (2, 1), (1, 5))
    report = agreement.report(session, project.id)
    by_name = dict(report.absolute.criteria)
    assert list(by_name) == ["kind", "true"]
    assert number(by_name["true"].raw) == pytest.approx((1 / 3 + 1) / 2)
    assert number(by_name["true"].within_one) == 1.0
    assert number(by_name["kind"].within_one) == pytest.approx((1 / 3 + 1) / 2)
    assert by_name["true"].metric is DistanceMetric.ORDINAL
    mean = report.absolute.mean
    assert mean is not None
    assert (mean.units, mean.pairable, mean.judgments) == (8, 8, 24)
    # (3·1 + 5)/4 = 2, (3·2 + 1)/4 = 1.75, which is 2 in half points: everybody agrees.
    assert number(mean.raw) == 1.0
    assert (report.kinds, report.without_preference) == ({JudgmentKind.RATE: 12}, 0)
    assert report.overall.judgments == 12  # the orders that the means imply


def test_mean_ratings_are_weighted_and_in_half_points(session: Session) -> None:
    assert absolute_agreement.mean_ratings({"a": [1], "b": [5]}, {"a": 3.0}) == (2.0,)
    assert absolute_agreement.mean_ratings({"a": [1], "b": [5]}, {}) == (3.0,)
    assert absolute_agreement.mean_ratings({"a": [1]}, {"a": 0.0}) == ()
    against = {"a": 1.0, "b": -1.0}
    assert absolute_agreement.mean_ratings({"a": [5, 3], "b": [1, 3]}, against) == (2.0, 0.0)


def test_thumbs_agree_on_up_and_down_and_prefer_nothing(session: Session) -> None:
    project, people = make_project(session)
    for thumbs in (["up", "up", "down"], ["down", "down", "down"]):
        comparison = make_comparison(session, project, ("one",), kind=JudgmentKind.THUMBS)
        for labeler, thumb in zip(people, thumbs, strict=True):
            vote(session, comparison, labeler, thumb=thumb, shown_order=(0,))
    report = agreement.report(session, project.id)
    assert report.absolute.thumbs is not None
    assert number(report.absolute.thumbs.raw) == pytest.approx((1 / 3 + 1) / 2)
    assert not report.has_orders
    assert [number(measure) for _, measure in report.absolute.labelers] == pytest.approx(
        [0.75, 0.75, 0.5]
    )
    ups = [quality.thumbs_up for quality in labeler_quality.of_project(session, project.id)]
    assert [(number(measure), measure.n) for measure in ups] == [(0.5, 2), (0.5, 2), (0.0, 2)]


def test_texts_are_counted_and_have_no_agreement(session: Session) -> None:
    project, people = make_project(session)
    comparison = make_comparison(session, project, (), kind=JudgmentKind.WRITE)
    for labeler in people:
        vote(session, comparison, labeler, text="Hello.", shown_order=())
    report = agreement.report(session, project.id)
    assert (report.texts, report.has_orders) == (3, False)
    assert report.absolute == absolute_agreement.AbsoluteReport((), None, None, ())


def test_one_labeler_alone_has_no_agreement_and_is_told_why(session: Session) -> None:
    project, people = make_project(session)
    rate(session, project, people[:1], (1, 5))
    ((_, ratings), _) = agreement.report(session, project.id).absolute.criteria
    assert isinstance(ratings.alpha.value, Undefined)
    assert isinstance(ratings.within_one.value, Undefined)
