"""Remarks on labelers, from figures and through the service."""

from dataclasses import replace

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.domain.judgment_kinds import JudgmentKind
from app.domain.measures import Interval, Measure, Undefined
from app.models import Comparison, ComparisonCompletion, Completion
from app.services.quality import labeler_quality, labeler_remarks
from app.services.quality.labeler_remarks import Evidence, Trials
from tests.services.sample_votes import make_comparison, make_project, vote

NONE = Trials.of((), "none")
NO_EVIDENCE = Evidence(
    judgments=60,
    labelers=5,
    first_place=NONE,
    first_place_expected=0.5,
    gold=NONE,
    same_again=NONE,
    longer=NONE,
    longer_by_others=Measure.missing("none"),
    standing=None,
    is_contrary=False,
)


def trials(right: int, n: int, per_prompt: int = 1) -> Trials:
    """Make trials, the right ones first, so many on each prompt."""
    return Trials.of(((at < right, at // per_prompt) for at in range(n)), "none")


def test_no_evidence_gives_no_remark() -> None:
    assert labeler_remarks.of(NO_EVIDENCE) == ()


@pytest.mark.parametrize(
    ("evidence", "words"),
    [
        (replace(NO_EVIDENCE, first_place=trials(50, 60)), "shown first 83 %"),
        (replace(NO_EVIDENCE, first_place=trials(10, 60)), "shown first only 17 %"),
        (replace(NO_EVIDENCE, gold=trials(12, 30)), "right on 40 %"),
        (replace(NO_EVIDENCE, same_again=trials(9, 30)), "same judgment on 30 %"),
    ],
)
def test_extreme_figures_give_a_remark_with_the_share_and_its_interval(
    evidence: Evidence, words: str
) -> None:
    (remark,) = labeler_remarks.of(evidence)
    assert words in remark
    assert " [" in remark


def test_gold_on_few_prompts_is_weaker_evidence_than_on_many() -> None:
    assert labeler_remarks.of(replace(NO_EVIDENCE, gold=trials(12, 30)))
    assert not labeler_remarks.of(replace(NO_EVIDENCE, gold=trials(12, 30, per_prompt=10)))


def test_the_place_on_screen_is_random_so_prompts_play_no_part() -> None:
    placed = trials(50, 60, per_prompt=20)
    assert labeler_remarks.of(replace(NO_EVIDENCE, first_place=placed))


def test_a_larger_team_needs_stronger_evidence() -> None:
    placed = trials(42, 60)  # 70 %
    assert labeler_remarks.of(replace(NO_EVIDENCE, labelers=3, first_place=placed))
    assert not labeler_remarks.of(replace(NO_EVIDENCE, labelers=200, first_place=placed))


def test_length_preference_is_compared_with_the_others_interval() -> None:
    longer = replace(NO_EVIDENCE, longer=trials(50, 60))
    (remark,) = labeler_remarks.of(
        replace(longer, longer_by_others=Measure(0.55, Interval(0.5, 0.6), 400))
    )
    assert remark.startswith("chooses the longer response 83 % [")
    assert remark.endswith("others 55 % [50, 60]")
    unsure = Measure(0.55, Interval(0.2, 0.9), 10)
    assert not labeler_remarks.of(replace(longer, longer_by_others=unsure))


def test_below_thirty_judgments_there_are_no_remarks() -> None:
    few = replace(NO_EVIDENCE, judgments=29, first_place=trials(29, 29))
    assert labeler_remarks.of(few) == ()
    assert labeler_remarks.of(replace(few, judgments=30))


def test_a_contrary_labeler_gets_a_remark_without_gold_and_the_others_get_none(
    session: Session,
) -> None:
    project, people = make_project(session, labelers=3)
    for n in range(30):
        comparison = make_comparison(session, project, overlap=3)
        right, wrong = ("a", "b") if n % 2 else ("b", "a")
        for at, who in enumerate(people):
            vote(
                session,
                comparison,
                who,
                preferred=wrong if at == 2 and n % 10 else right,
                shown_order=(0, 1) if n % 4 < 2 else (1, 0),
            )
    found = {row.labeler: row for row in labeler_quality.of_project(session, project.id)}
    names = sorted(found)
    (remark,) = found[names[-1]].remarks
    assert remark.startswith("chooses as the others do 10 % [")
    assert "less often than chance" in remark
    assert not found[names[0]].remarks
    assert not found[names[1]].remarks


def test_a_contrary_labeler_of_thumbs_gets_a_remark(session: Session) -> None:
    project, people = make_project(session, labelers=3)
    for n in range(40):
        comparison = make_comparison(
            session, project, ("one",), overlap=3, kind=JudgmentKind.THUMBS
        )
        for at, who in enumerate(people):
            is_up = (n % 2 == 0) == (at < 2)
            vote(session, comparison, who, thumb="up" if is_up else "down", shown_order=(0,))
    remarks = [row.remarks for row in labeler_quality.of_project(session, project.id)]
    assert [bool(each) for each in remarks] == [False, False, True]
    assert "rates high what the others rate low" in remarks[2][0]


def test_length_preference_stands_beside_that_of_the_others(session: Session) -> None:
    project, people = make_project(session, labelers=2)
    for n in range(10):
        comparison = make_comparison(session, project, ("a longer one", "short"), overlap=2)
        longer, shorter = _by_length(session, comparison)
        vote(session, comparison, people[0], preferred=longer)
        vote(session, comparison, people[1], preferred=longer if n < 3 else shorter)
    first, second = labeler_quality.of_project(session, project.id)
    assert (first.longer.value, first.longer_by_others.value) == (1.0, 0.3)
    assert (second.longer.value, second.longer_by_others.value) == (0.3, 1.0)
    assert isinstance(second.longer.interval, Interval)
    assert not isinstance(first.longer_by_others.interval, Undefined)
    assert first.longer_by_others.n == 10


def _by_length(session: Session, comparison: Comparison) -> tuple[str, str]:
    """Return the letters of the longer and the shorter of two completions."""
    query = (
        select(Completion.text)
        .join(ComparisonCompletion, ComparisonCompletion.completion_id == Completion.id)
        .where(ComparisonCompletion.comparison_id == comparison.id)
        .order_by(ComparisonCompletion.position)
    )
    first, second = session.scalars(query)
    return ("a", "b") if len(first) > len(second) else ("b", "a")
