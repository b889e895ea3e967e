"""Which judgments count towards agreement, and how they are grouped."""

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import Database
from app.domain.choosing import ChoiceRule, Chosen
from app.domain.measures import Interval, Undefined
from app.models import Comparison, Judgment, Project, Purpose, User
from app.services.project import prompt_labels
from app.services.project.prompt_labels import LabelAction, PromptSelection
from app.services.project.prompt_search import NO_CATEGORY
from app.services.quality import agreement, judgment_reader, labeler_quality
from app.services.queue import comparisons
from tests.services.sample_votes import make_comparison, make_project, vote


def label(
    session: Session, project: Project, comparison_id: int, action: LabelAction, value: str
) -> None:
    prompt_id = session.get_one(Comparison, comparison_id).prompt_id
    selection = PromptSelection(ids=(prompt_id,))
    prompt_labels.edit(session, project, selection, action, value, actor_id=None)


def judged(
    session: Session, project: Project, people: list[User], *picks: str, version: int = 1
) -> list[Judgment]:
    comparison = make_comparison(session, project, overlap=len(picks))
    return [
        vote(session, comparison, labeler, preferred=preferred, version=version)
        for labeler, preferred in zip(people, picks, strict=False)
    ]


def test_two_of_three_the_same_agree_in_one_pair_of_three(session: Session) -> None:
    project, people = make_project(session)
    judged(session, project, people, "a", "a", "b")
    report = agreement.report(session, project.id).overall
    assert report.raw.value == pytest.approx(1 / 3)
    assert (report.judgments, report.labelers, report.pairable) == (3, 3, 1)


@pytest.mark.parametrize("purpose", [Purpose.GOLD, Purpose.PRACTICE, Purpose.EVALUATION])
def test_other_purposes_stay_out(session: Session, purpose: Purpose) -> None:
    project, people = make_project(session)
    comparison = make_comparison(session, project, purpose=purpose)
    for who in people:
        vote(session, comparison, who, preferred="a")
    assert agreement.report(session, project.id).judgments == 0
    assert agreement.report(session, project.id, purpose=purpose).judgments == 3


def test_comparisons_that_a_rule_chose_are_counted_and_left_out_of_figures(
    session: Session,
) -> None:
    project, people = make_project(session)
    judged(session, project, people, "a", "a")
    disputed = judged(session, project, people, "a", "b")
    chosen = session.get_one(Comparison, disputed[0].comparison_id)
    chosen.chosen = Chosen(ChoiceRule.UNCERTAINTY, 0.9, 1, 10, "Reward 1").to_json()
    session.flush()
    judgment_reader.forget()

    report = agreement.report(session, project.id)
    assert (report.judgments, report.chosen, report.includes_chosen) == (2, 2, False)
    assert report.overall.raw.value == 1.0
    whole = agreement.report(session, project.id, chosen=True)
    assert (whole.judgments, whole.chosen, whole.includes_chosen) == (4, 2, True)
    assert whole.overall.raw.value == 0.5
    assert agreement.summary(session, project.id).raw.value == 1.0
    assert agreement.lowest(session, project.id).rows == ((chosen.id, 0.0),)


def test_retracted_surplus_superseded_and_withdrawn_judgments_stay_out(session: Session) -> None:
    project, people = make_project(session)
    first = judged(session, project, people, "a", "a", "b")
    first[0].is_retraction = True
    first[1].is_surplus = True
    first[2].is_current = False
    comparisons.withdraw(session, judged(session, project, people, "a", "a")[0].comparison_id)
    session.flush()
    assert agreement.report(session, project.id).judgments == 0


def test_both_bad_alone_is_counted_but_is_no_vote(session: Session) -> None:
    project, people = make_project(session)
    comparison = make_comparison(session, project)
    vote(session, comparison, people[0], preferred="a")
    vote(session, comparison, people[1], both_bad=True)
    report = agreement.report(session, project.id)
    assert (report.judgments, report.without_preference, report.overall.judgments) == (2, 1, 1)


def test_agreement_without_judgments_is_undefined_with_a_reason(session: Session) -> None:
    project, _ = make_project(session)
    report = agreement.report(session, project.id).overall
    for measure in (report.raw, report.alpha, report.decided):
        assert isinstance(measure.value, Undefined)
        assert measure.value.reason
    assert isinstance(report.levels, Undefined)


def test_comparisons_of_one_prompt_widen_the_interval(session: Session) -> None:
    project, people = make_project(session)
    for n in range(12):
        judged(session, project, people, "a", "a" if n % 3 else "b")
    alone = agreement.report(session, project.id).overall.raw
    asked = session.scalars(select(Comparison).order_by(Comparison.id)).all()
    for comparison in asked[1:6]:
        comparison.prompt_id = asked[0].prompt_id
    session.flush()
    shared = agreement.report(session, project.id).overall.raw
    assert shared.value == alone.value
    assert isinstance(alone.interval, Interval)
    assert isinstance(shared.interval, Interval)
    assert shared.interval.high - shared.interval.low > alone.interval.high - alone.interval.low


def test_agreement_is_grouped_by_guidelines_version(session: Session) -> None:
    project, people = make_project(session)
    for _ in range(4):
        judged(session, project, people, "a", "b", version=1)
        judged(session, project, people, "a", "a", version=2)
    groups = {group.name: group.raw.value for group in agreement.by_version(session, project.id)}
    assert groups == {"version 1": 0.0, "version 2": 1.0}
    report = agreement.report(session, project.id, version=2)
    assert (report.judgments, report.overall.raw.value) == (8, 1.0)


def test_agreement_over_time_is_measured_in_equal_bins_of_comparisons(session: Session) -> None:
    project, people = make_project(session)
    for n in range(2 * agreement.MIN_BIN_SIZE):
        is_late = n >= agreement.MIN_BIN_SIZE
        picks = ("a", "a") if is_late else ("a", "b")
        judged(session, project, people, *picks, version=1 + is_late)
        judged(session, project, people, "a")  # a single vote is left out
    early, late = agreement.report(session, project.id).over_time
    assert (early.raw.value, late.raw.value) == (0.0, 1.0)
    assert (early.versions, late.versions) == ((1,), (2,))
    assert early.start <= early.end <= late.start <= late.end


def test_a_labelers_report_holds_everybodys_votes_on_what_they_judged(session: Session) -> None:
    project, people = make_project(session)
    judged(session, project, people[:2], "a", "a")
    judged(session, project, people[1:], "a", "b")
    report = agreement.report(session, project.id, labeler_id=people[0].id)
    assert (report.judgments, report.overall.raw.value) == (2, 1.0)


def test_a_labelers_report_leaves_out_what_they_retracted(session: Session) -> None:
    project, people = make_project(session)
    retracted = judged(session, project, people, "a", "a", "b")[0]
    retracted.is_retraction = True
    session.flush()
    assert agreement.report(session, project.id, labeler_id=people[0].id).judgments == 0


def test_the_most_disputed_come_first(session: Session) -> None:
    project, people = make_project(session, labelers=4)
    agreed = judged(session, project, people, "a", "a", "a", "a")[0].comparison_id
    split = judged(session, project, people, "a", "a", "b", "b")[0].comparison_id
    nearly = judged(session, project, people, "a", "a", "a", "b")[0].comparison_id
    assert [name for name, _ in agreement.lowest(session, project.id).rows] == [split, nearly]
    assert agreed not in dict(agreement.lowest(session, project.id, below=1.0).rows)


def test_other_projects_stay_out(session: Session) -> None:
    project, _ = make_project(session)
    other, people = make_project(session)
    judged(session, other, people, "a", "a")
    assert agreement.report(session, project.id).judgments == 0


def test_the_place_on_screen_is_counted_by_what_was_shown_not_by_the_canonical_order(
    session: Session,
) -> None:
    project, people = make_project(session, labelers=1)
    for _ in range(40):
        comparison = make_comparison(session, project)
        vote(session, comparison, people[0], preferred="b", shown_order=(1, 0))
    (quality,) = labeler_quality.of_project(session, project.id)
    assert quality.first_place.value == 1.0
    assert quality.first_place_expected == 0.5
    assert any("shown first" in remark for remark in quality.remarks)


def test_a_labeler_who_chooses_at_random_gets_no_remark(session: Session) -> None:
    project, people = make_project(session, labelers=1)
    for n in range(40):
        comparison = make_comparison(session, project)
        vote(session, comparison, people[0], preferred="ab"[n % 2], shown_order=(0, 1))
    (quality,) = labeler_quality.of_project(session, project.id)
    assert quality.first_place.value == 0.5
    assert not quality.remarks


def test_gold_and_the_same_again_are_counted_with_their_n(session: Session) -> None:
    project, people = make_project(session, labelers=1)
    who = people[0]
    gold = make_comparison(session, project, purpose=Purpose.GOLD, gold_answer={"preferred": "a"})
    assert gold.gold_answer is not None
    vote(session, gold, who, preferred=gold.gold_answer["preferred"])
    first = make_comparison(session, project)
    vote(session, first, who, preferred="a")
    again = make_comparison(
        session, project, purpose=Purpose.REPEAT, origin_id=first.id, only_labeler_id=who.id
    )
    vote(session, again, who, preferred="b")
    (found,) = labeler_quality.of_project(session, project.id)
    assert (found.gold.value, found.gold.n) == (1.0, 1)
    assert (found.same_again.value, found.same_again.n) == (0.0, 1)
    assert isinstance(found.skips.value, float)


def test_withdrawn_gold_is_no_measure_of_a_labeler(session: Session) -> None:
    project, people = make_project(session, labelers=1)
    gold = make_comparison(session, project, purpose=Purpose.GOLD, gold_answer={"preferred": "a"})
    vote(session, gold, people[0], preferred="tie")
    comparisons.withdraw(session, gold.id)
    session.flush()
    (found,) = labeler_quality.of_project(session, project.id)
    assert (found.judgments, found.gold.n) == (1, 0)


def test_agreement_is_cut_by_category_and_tag(any_database: Database) -> None:
    with any_database.transaction() as session:
        project, people = make_project(session)
        math, poems, plain = (
            judged(session, project, people, *picks)[0].comparison_id
            for picks in (("a", "a"), ("a", "b"), ("b", "b"))
        )
        label(session, project, math, LabelAction.CATEGORIZE, "math")
        label(session, project, poems, LabelAction.CATEGORIZE, "poems")
        for comparison_id in (poems, plain):
            label(session, project, comparison_id, LabelAction.TAG, "new")
        report = agreement.report(session, project.id)
        assert {group.name: group.raw.value for group in report.categories} == {
            "math": 1.0,
            "poems": 0.0,
            NO_CATEGORY: 1.0,
        }

        def judgments(categories: tuple[str, ...] = (), tags: tuple[str, ...] = ()) -> int:
            found = agreement.report(session, project.id, categories=categories, tags=tags)
            return found.judgments

        assert judgments(categories=("math",)) == 2
        assert judgments(categories=("math", NO_CATEGORY)) == 4
        assert judgments(tags=("new",)) == 4
        assert judgments(categories=("poems", "math"), tags=("new", "other")) == 2
        assert agreement.report(session, project.id, categories=("math",)).categories == ()


def test_the_smallest_of_very_many_categories_are_pooled(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agreement, "MAX_CATEGORIES", 2)
    project, people = make_project(session)
    for name, times in (("a", 3), ("b", 2), ("c", 1), ("d", 1)):
        for _ in range(times):
            comparison = judged(session, project, people, "a", "a")[0].comparison_id
            label(session, project, comparison, LabelAction.CATEGORIZE, name)
    groups = agreement.report(session, project.id).categories
    assert {group.name: group.judgments for group in groups} == {
        "a": 6,
        "b": 4,
        "2 other categories": 4,
    }


def test_a_changed_category_shows_at_once(database: Database) -> None:
    with database.transaction() as session:
        project, people = make_project(session)
        comparison = judged(session, project, people, "a", "a")[0].comparison_id
    with database.reader() as session:
        assert agreement.report(session, project.id, categories=("math",)).judgments == 0
    with database.transaction() as session:
        project = session.merge(project)
        label(session, project, comparison, LabelAction.CATEGORIZE, "math")
    with database.reader() as session:
        assert agreement.report(session, project.id, categories=("math",)).judgments == 2
