"""Practice runs: what is next, what was right, who has passed, and that none of it counts."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db import Database
from app.domain.assignment import why_empty
from app.domain.judgment_kinds import (
    JudgmentBody,
    JudgmentKind,
    PickBody,
    RankBody,
    RateBody,
    ThumbsBody,
)
from app.domain.practice import expected
from app.errors import Conflict, Invalid, LeaseLost, NotFound, ReplayMismatch
from app.models import Assignment, Criterion, Judgment, Membership, Project, Purpose, Role
from app.services.judging import practice_runs, queue_progress
from app.services.judging.practice_runs import Feedback
from app.services.judging.sheets import Sheet
from app.services.judging.submissions import Submission
from app.services.people import accounts
from app.services.project import projects
from app.services.quality import agreement, labeler_quality
from app.services.queue import comparisons, practice_standing, slot_leases
from tests.services import sample_votes
from tests.services.sample import SECRET

RIGHT, WRONG = "good", "bad"


@dataclass
class Desk:
    """Somebody at practice in a project."""

    session: Session
    project: Project
    labeler_id: int

    @property
    def member(self) -> Membership:
        found = accounts.membership(self.session, self.project.id, self.labeler_id)
        assert found is not None
        return found

    def next(self, **options: Any) -> list[Sheet]:
        return practice_runs.next_sheets(
            self.session, SECRET, self.project, self.labeler_id, **options
        )

    def submit(self, given: Submission) -> Feedback:
        return practice_runs.submit(self.session, SECRET, self.project, self.labeler_id, given)

    def pick(self, sheet: Sheet, text: str) -> Feedback:
        (at,) = [one.position for one in sheet.candidates if one.text == text]
        return self.submit(_submission(sheet, PickBody("ab"[at])))

    def run(self, right: int) -> None:
        """Go through a run, the first so many right."""
        at = 0
        while found := self.next():
            self.pick(found[0], RIGHT if at < right else WRONG)
            at += 1

    def claimed(self) -> Assignment | None:
        return slot_leases.claim(self.session, SECRET, self.project, self.labeler_id)


def _submission(sheet: Sheet, body: JudgmentBody, key: str = "") -> Submission:
    made = f"{sheet.lease_token}-{sheet.comparison_id:06d}"
    return Submission(sheet.assignment_id, sheet.lease_token, key or made, body)


@pytest.fixture
def desk(any_database: Database) -> Iterator[Desk]:
    with any_database.transaction() as session:
        yield _desk(session)


def _desk(session: Session, *, items: int = 4, share: float | None = 0.75) -> Desk:
    project, (labeler,) = sample_votes.make_project(session, 1, practice_pass_share=share)
    for _ in range(items):
        sample_votes.make_comparison(
            session,
            project,
            (RIGHT, WRONG),
            purpose=Purpose.PRACTICE,
            gold_answer={"preferred": "a"},
            gold_reason="It *answers*.",
            overlap=1,
        )
    sample_votes.make_comparison(session, project)
    return Desk(session, project, labeler.id)


def test_a_run_shows_each_comparison_once(desk: Desk) -> None:
    seen = []
    while found := desk.next():
        seen.append(found[0].comparison_id)
        desk.pick(found[0], RIGHT)
    assert len(seen) == len(set(seen)) == 4


def test_the_page_is_not_given_what_it_holds(desk: Desk) -> None:
    first, second = desk.next(count=2)
    (third,) = desk.next(held=[first.assignment_id, second.assignment_id])
    assert third.comparison_id not in {first.comparison_id, second.comparison_id}
    assert [one.comparison_id for one in desk.next(count=2)] == [
        first.comparison_id,
        second.comparison_id,
    ]


def test_right_and_wrong_come_with_the_answer_and_the_reason(desk: Desk) -> None:
    first, second = desk.next(count=2)
    right, wrong = desk.pick(first, RIGHT), desk.pick(second, WRONG)
    assert right.is_right
    assert not wrong.is_right
    assert wrong.settled != wrong.given
    assert wrong.reason == "It *answers*."
    assert wrong.order == tuple(one.position for one in second.candidates)


def test_nobody_labels_before_they_pass(desk: Desk) -> None:
    state = queue_progress.state(desk.session, desk.project, desk.labeler_id)
    assert why_empty(state) == ("You must pass this project’s practice before you can label.",)
    assert desk.claimed() is None
    desk.run(right=3)
    assert desk.claimed() is not None


def test_a_run_below_the_mark_is_repeated(desk: Desk) -> None:
    desk.run(right=2)
    assert desk.claimed() is None
    assert desk.next() == []
    practice_standing.begin_again(desk.session, desk.project, desk.member)
    assert practice_standing.standing(desk.session, desk.project, desk.labeler_id).answered == 0
    desk.run(right=4)
    assert desk.claimed() is not None


def test_a_run_is_not_begun_again_before_it_is_complete(desk: Desk) -> None:
    desk.pick(desk.next()[0], RIGHT)
    with pytest.raises(Conflict, match="3 of 4 are still to be judged"):
        practice_standing.begin_again(desk.session, desk.project, desk.member)


def test_whoever_passed_has_passed(desk: Desk) -> None:
    desk.run(right=3)
    projects.edit(desk.session, desk.project, {"practice_pass_share": 1.0}, actor_id=1)
    practice_standing.begin_again(desk.session, desk.project, desk.member)
    desk.run(right=0)
    assert desk.claimed() is not None


def test_a_lead_can_ask_somebody_to_practise_again(desk: Desk) -> None:
    desk.run(right=4)
    practice_standing.ask_again(desk.session, desk.project, desk.member, actor_id=desk.labeler_id)
    assert desk.claimed() is None
    assert len(desk.next(count=9)) == 4


@pytest.mark.parametrize("items", [0, 4])
def test_without_a_mark_or_a_set_nobody_has_to_practise(database: Database, items: int) -> None:
    with database.transaction() as session:
        desk = _desk(session, items=items, share=None if items else 0.5)
        assert desk.claimed() is not None


def test_leads_and_simulated_labelers_are_let_through(desk: Desk) -> None:
    desk.member.role = Role.LEAD
    assert not practice_standing.is_required(desk.session, desk.project, desk.member)
    project, (labeler,) = sample_votes.make_project(desk.session, 1, practice_pass_share=0.5)
    labeler.is_simulated = True
    sample_votes.make_comparison(
        desk.session, project, purpose=Purpose.PRACTICE, gold_answer={"preferred": "a"}
    )
    found = accounts.membership(desk.session, project.id, labeler.id)
    assert not practice_standing.is_required(desk.session, project, found)


def test_the_same_answer_sent_again_is_the_same_answer(desk: Desk) -> None:
    (sheet,) = desk.next()
    given = _submission(sheet, PickBody("a", 2))
    assert desk.submit(given) == desk.submit(given)
    with pytest.raises(ReplayMismatch):
        desk.submit(replace(given, body=PickBody("b")))


def test_an_answer_of_another_run_or_to_something_else_is_refused(desk: Desk) -> None:
    (sheet,) = desk.next()
    with pytest.raises(LeaseLost):
        desk.submit(replace(_submission(sheet, PickBody("a")), lease_token="practice-2"))
    desk.pick(sheet, RIGHT)
    with pytest.raises(Conflict, match="already"):
        desk.submit(_submission(sheet, PickBody("a"), key="another-key"))
    ordinary = sample_votes.make_comparison(desk.session, desk.project)
    with pytest.raises(NotFound):
        desk.submit(
            replace(_submission(sheet, PickBody("a"), "new-key-1"), assignment_id=ordinary.id)
        )


def test_an_answer_breaks_no_rule_of_its_kind(desk: Desk) -> None:
    (sheet,) = desk.next()
    with pytest.raises(Invalid, match="asks for a pick"):
        desk.submit(_submission(sheet, RankBody((1, 2))))
    with pytest.raises(Invalid, match="not complete"):
        desk.submit(_submission(sheet, PickBody()))


def test_practice_counts_in_nothing(desk: Desk) -> None:
    desk.run(right=4)
    assert len(agreement.load(desk.session, desk.project.id)) == 0
    assert labeler_quality.of_project(desk.session, desk.project.id) == []
    for table in (Judgment, Assignment):  # what agreement, exports and training read
        assert desk.session.scalar(select(func.count()).select_from(table)) == 0


def test_a_withdrawn_comparison_leaves_the_set(desk: Desk) -> None:
    (sheet,) = desk.next()
    comparisons.withdraw(desk.session, sheet.comparison_id)
    assert practice_standing.standing(desk.session, desk.project, desk.labeler_id).total == 3
    with pytest.raises(NotFound):
        desk.pick(sheet, RIGHT)


def test_the_set_shows_how_often_each_was_right(desk: Desk) -> None:
    desk.run(right=3)
    rows = practice_standing.practice_set(desk.session, desk.project.id)
    assert [one.answers for one in rows] == [1] * 4
    assert sum(one.right for one in rows) == 3
    ((member, found),) = practice_standing.standings(desk.session, desk.project, [desk.member])
    assert member.user_id == desk.labeler_id
    assert (found.answered, found.right, found.is_passed) == (4, 3, True)


@pytest.mark.parametrize(
    ("kind", "texts", "answer", "said"),
    [
        (JudgmentKind.RANK, ("x", "y", "z"), {"ranking": [1, 2, 3]}, RankBody((1, 2, 3))),
        (JudgmentKind.THUMBS, ("x",), {"thumb": "down"}, ThumbsBody("down", ("wrong",))),
        (
            JudgmentKind.RATE,
            ("x", "y"),
            {"ratings": {"tone": [5, 1]}},
            RateBody({"tone": (4, 2)}),
        ),
    ],
)
def test_other_kinds_are_practised_too(
    session: Session,
    kind: JudgmentKind,
    texts: tuple[str, ...],
    answer: dict[str, Any],
    said: JudgmentBody,
) -> None:
    desk = _desk(session, items=0)
    desk.project.judgment_kind = kind
    made = sample_votes.make_comparison(
        session, desk.project, texts, kind=kind, purpose=Purpose.PRACTICE, gold_answer=answer
    )
    if kind is JudgmentKind.RATE:
        session.add(Criterion(project_id=desk.project.id, name="tone"))
        session.flush()
    settled = expected(str(kind), made.gold_answer or {})
    (sheet,) = desk.next()
    if isinstance(settled, RateBody):
        assert isinstance(said, RateBody)
        turned = settled.ratings["tone"] == (1, 5)
        said = RateBody({"tone": said.ratings["tone"][::-1] if turned else said.ratings["tone"]})
    elif isinstance(settled, RankBody):
        said = settled
    assert desk.submit(_submission(sheet, said)).is_right
