from collections import Counter
from collections.abc import Iterator

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db import Database
from app.domain.assignment import why_empty
from app.domain.judgment_kinds import JudgmentKind, PickBody, RankBody, WriteBody
from app.domain.states import AssignmentState
from app.errors import Conflict, Invalid, LeaseLost, NotFound, ReplayMismatch
from app.models import Assignment, Comparison, Demonstration, Judgment, Project, Purpose
from app.services.judging import (
    corrections,
    labeler_history,
    labeling,
    queue_progress,
    sheets,
    skips,
    submissions,
)
from app.services.queue import comparisons, slot_leases
from tests.services import sample


@pytest.fixture
def clock() -> sample.Clock:
    return sample.Clock()


@pytest.fixture
def work(any_url: str, clock: sample.Clock) -> Iterator[Session]:
    database = Database(any_url, clock=clock)
    with database.transaction() as session:
        yield session
    database.dispose()


def _claim(work: Session, project: Project, labeler: int, **options: object) -> Assignment | None:
    return slot_leases.claim(
        work,
        sample.SECRET,
        project,
        labeler,
        draw=sample.never_mix(),
        **options,  # type: ignore[arg-type]
    )


def _take(work: Session, project: Project, labeler: int, **options: object) -> Assignment:
    assignment = _claim(work, project, labeler, **options)
    assert assignment is not None
    return assignment


def _judge(work: Session, project: Project, labeler: int) -> submissions.Outcome:
    return labeling.submit(work, project, labeler, sample.submission(_take(work, project, labeler)))


def _counts_agree(work: Session, comparison: Comparison) -> None:
    work.flush()
    states = Counter(
        work.execute(
            select(Assignment.state).where(Assignment.comparison_id == comparison.id)
        ).scalars()
    )
    assert comparison.done_slots == states[AssignmentState.SUBMITTED]
    leased = states[AssignmentState.LEASED]
    assert comparison.open_slots == comparison.overlap - comparison.done_slots - leased
    assert comparison.is_open == (comparison.open_slots > 0)


def test_a_reload_shows_the_same_in_the_same_order(work: Session) -> None:
    project = sample.make_project(work)
    (labeler,) = sample.make_labelers(work, project, 1)
    for _ in range(3):
        sample.make_comparison(work, project)
    first = _take(work, project, labeler)
    order = list(first.shown_order)
    again = _take(work, project, labeler)
    assert again.id == first.id
    assert again.shown_order == order


def test_at_most_two_are_leased_ahead(work: Session) -> None:
    project = sample.make_project(work)
    (labeler,) = sample.make_labelers(work, project, 1)
    for _ in range(5):
        sample.make_comparison(work, project)
    held: list[int] = []
    for _ in range(3):
        held.append(_take(work, project, labeler, held=held).id)
    assert len(set(held)) == 3
    assert _claim(work, project, labeler, held=held) is None


def test_nobody_judges_twice_or_what_they_wrote(work: Session) -> None:
    project = sample.make_project(work)
    writer, other = sample.make_labelers(work, project, 2)
    comparison = sample.make_comparison(work, project, author_id=writer)
    assert _claim(work, project, writer) is None
    _judge(work, project, other)
    assert _claim(work, project, other) is None
    _counts_agree(work, comparison)


def test_nobody_judges_a_prompt_that_they_wrote_an_answer_to(work: Session) -> None:
    project = sample.make_project(work, overlap=2)
    writer, shown, other = sample.make_labelers(work, project, 3)
    comparison = sample.make_comparison(work, project)
    prompt_id = comparison.prompt_id
    written = comparisons.create(
        work,
        project,
        prompt_id,
        (),
        kind=JudgmentKind.WRITE,
        natural_key="write",
        seed=1,
        overlap=1,
    )
    work.add(
        Demonstration(
            project_id=project.id,
            prompt_id=prompt_id,
            text="So.",
            content_hash="0" * 64,
            author_id=shown,
            created_at=comparison.created_at,
        )
    )
    comparison.is_open = False
    assignment = _take(work, project, writer)
    assert assignment.comparison_id == written.id
    labeling.submit(work, project, writer, sample.submission(assignment, WriteBody("My answer.")))
    comparison.is_open = True
    assert _claim(work, project, writer) is None
    assert _claim(work, project, shown) is None
    assert _take(work, project, other).comparison_id == comparison.id


def test_priority_then_nearest_to_complete_then_oldest(work: Session) -> None:
    project = sample.make_project(work)
    one, two, three = sample.make_labelers(work, project, 3)
    old = sample.make_comparison(work, project)
    started = sample.make_comparison(work, project, priority=1)
    _judge(work, project, one)
    urgent = sample.make_comparison(work, project, priority=1)
    assert started.done_slots == 1
    held: list[int] = []
    seen = []
    for _ in range(3):
        assignment = _take(work, project, two, held=held)
        held.append(assignment.id)
        seen.append(assignment.comparison_id)
    assert seen == [started.id, urgent.id, old.id]
    assert _take(work, project, three).comparison_id == started.id


def test_someone_who_judged_a_whole_window_still_gets_the_next(
    work: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.services.queue.queue_order.WINDOW", 2)
    project = sample.make_project(work)
    (labeler,) = sample.make_labelers(work, project, 1)
    made = [sample.make_comparison(work, project) for _ in range(7)]
    judged = [_judge(work, project, labeler).comparison_id for _ in range(7)]
    assert judged == [comparison.id for comparison in made]
    assert _claim(work, project, labeler) is None


def test_evaluation_work_is_mixed_in_and_looks_like_any_other(work: Session) -> None:
    project = sample.make_project(work)
    (labeler,) = sample.make_labelers(work, project, 1)
    sample.make_comparison(work, project)
    test = sample.make_comparison(work, project, purpose=Purpose.EVALUATION)
    drawn = slot_leases.claim(work, sample.SECRET, project, labeler, draw=lambda: 0.1)
    assert drawn is not None
    assert drawn.comparison_id == test.id
    shown = sheets.of_assignment(work, drawn)
    assert "evaluation" not in repr(shown)


def test_gold_takes_the_place_of_ordinary_work_and_never_comes_alone(work: Session) -> None:
    project = sample.make_project(work, gold_rate=1.0)
    (labeler,) = sample.make_labelers(work, project, 1)
    gold = sample.make_comparison(
        work, project, purpose=Purpose.GOLD, gold_answer={"preferred": "a"}
    )
    assert _claim(work, project, labeler) is None
    sample.make_comparison(work, project)
    assert _take(work, project, labeler).comparison_id == gold.id


def test_a_repeat_comes_later_with_the_order_swapped_and_only_to_the_same_labeler(
    work: Session,
) -> None:
    project = sample.make_project(work)
    one, two = sample.make_labelers(work, project, 2)
    for _ in range(30):
        sample.make_comparison(work, project)
    for _ in range(25):
        _judge(work, project, one)
    project.repeat_rate = 1.0
    repeat = _take(work, project, one)
    comparison = work.get_one(Comparison, repeat.comparison_id)
    assert comparison.purpose == Purpose.REPEAT
    assert comparison.only_labeler_id == one
    original = work.scalar(
        select(Assignment.shown_order).where(
            Assignment.comparison_id == comparison.origin_id, Assignment.labeler_id == one
        )
    )
    assert original is not None
    assert repeat.shown_order == original[::-1]
    first, second = (
        {candidate.text for candidate in sheets.of_assignment(work, shown).candidates}
        for shown in (repeat, _origin(work, comparison, one))
    )
    assert first == second
    other = work.get_one(Comparison, _take(work, project, two).comparison_id)
    assert other.purpose == Purpose.TRAIN


def _origin(work: Session, repeat: Comparison, labeler: int) -> Assignment:
    found = work.scalar(
        select(Assignment).where(
            Assignment.comparison_id == repeat.origin_id, Assignment.labeler_id == labeler
        )
    )
    assert found is not None
    return found


def test_the_same_key_and_body_give_the_same_answer_and_one_row(work: Session) -> None:
    project = sample.make_project(work)
    (labeler,) = sample.make_labelers(work, project, 1)
    sample.make_comparison(work, project)
    given = sample.submission(_take(work, project, labeler))
    first = labeling.submit(work, project, labeler, given)
    assert labeling.submit(work, project, labeler, given) == first
    assert work.scalar(select(func.count()).select_from(Judgment)) == 1


def test_the_same_key_with_another_body_is_refused(work: Session) -> None:
    project = sample.make_project(work)
    (labeler,) = sample.make_labelers(work, project, 1)
    sample.make_comparison(work, project)
    assignment = _take(work, project, labeler)
    labeling.submit(work, project, labeler, sample.submission(assignment, PickBody("a"), "k" * 9))
    with pytest.raises(ReplayMismatch):
        labeling.submit(
            work, project, labeler, sample.submission(assignment, PickBody("b"), "k" * 9)
        )
    with pytest.raises(Conflict, match="judged this comparison already"):
        labeling.submit(work, project, labeler, sample.submission(assignment, PickBody("b")))


def test_a_wrong_token_or_a_foreign_assignment_is_refused(work: Session) -> None:
    project = sample.make_project(work)
    one, two = sample.make_labelers(work, project, 2)
    sample.make_comparison(work, project)
    assignment = _take(work, project, one)
    with pytest.raises(NotFound):
        labeling.submit(work, project, two, sample.submission(assignment))
    stolen = submissions.Submission(assignment.id, "guess", "k" * 8, PickBody("a"))
    with pytest.raises(LeaseLost):
        labeling.submit(work, project, one, stolen)
    with pytest.raises(Invalid, match="8 to 64"):
        labeling.submit(work, project, one, sample.submission(assignment, key="short"))


def test_a_late_submit_counts_while_a_slot_is_free(work: Session, clock: sample.Clock) -> None:
    project = sample.make_project(work, overlap=1)
    one, two = sample.make_labelers(work, project, 2)
    comparison = sample.make_comparison(work, project)
    assignment = _take(work, project, one)
    clock.forward(hours=2)
    gone = _take(work, project, two)
    slot_leases.release(work, project.id, two)
    assert work.get_one(Assignment, assignment.id).state == AssignmentState.EXPIRED
    assert gone.state == AssignmentState.RELEASED
    late = labeling.submit(work, project, one, sample.submission(assignment))
    assert not late.is_surplus
    _counts_agree(work, comparison)


def test_a_late_submit_whose_slot_was_leased_again_is_kept_as_surplus(
    work: Session, clock: sample.Clock
) -> None:
    project = sample.make_project(work, overlap=1)
    one, two = sample.make_labelers(work, project, 2)
    comparison = sample.make_comparison(work, project)
    assignment = _take(work, project, one)
    clock.forward(hours=2)
    other = _take(work, project, two)
    late = labeling.submit(work, project, one, sample.submission(assignment))
    assert late.is_surplus
    assert work.get_one(Judgment, late.judgment_id).is_surplus
    assert not labeling.submit(work, project, two, sample.submission(other)).is_surplus
    _counts_agree(work, comparison)


def test_a_late_submit_joins_the_later_lease_of_the_same_person(
    work: Session, clock: sample.Clock
) -> None:
    project = sample.make_project(work, overlap=2)
    one, two = sample.make_labelers(work, project, 2)
    comparison = sample.make_comparison(work, project)
    early = _take(work, project, one)
    clock.forward(hours=2)
    _take(work, project, two)  # frees what ran out
    again = _take(work, project, one)
    assert again.id != early.id
    outcome = labeling.submit(work, project, one, sample.submission(early))
    assert outcome.assignment_id == again.id
    _counts_agree(work, comparison)


def test_a_heartbeat_keeps_the_lease(work: Session, clock: sample.Clock) -> None:
    project = sample.make_project(work, overlap=1)
    one, two = sample.make_labelers(work, project, 2)
    sample.make_comparison(work, project)
    assignment = _take(work, project, one)
    for _ in range(6):
        clock.forward(minutes=20)
        assert set(slot_leases.heartbeat(work, project, one)) == {assignment.id}
        assert _claim(work, project, two) is None
    clock.forward(hours=2)
    assert _claim(work, project, two) is not None
    assert slot_leases.heartbeat(work, project, one) == {}


def test_a_skip_frees_the_slot_and_is_not_offered_again(work: Session) -> None:
    project = sample.make_project(work, overlap=1)
    one, two = sample.make_labelers(work, project, 2)
    comparison = sample.make_comparison(work, project)
    assignment = _take(work, project, one)
    given = submissions.Skip(assignment.id, assignment.lease_token, "k" * 8, "unclear", "what?")
    skips.skip(work, project, one, given)
    skips.skip(work, project, one, given)
    _counts_agree(work, comparison)
    assert _claim(work, project, one) is None
    assert _take(work, project, two).comparison_id == comparison.id


def test_undo_opens_the_last_ones_again_with_their_answers(work: Session) -> None:
    project = sample.make_project(work)
    (labeler,) = sample.make_labelers(work, project, 1)
    made = [sample.make_comparison(work, project) for _ in range(3)]
    submitted = []
    for strength in (1, 2, 3):
        assignment = _take(work, project, labeler)
        labeling.submit(
            work, project, labeler, sample.submission(assignment, PickBody("b", strength))
        )
        submitted.append(assignment.id)
    for strength in (3, 2):
        opened = corrections.undo(work, project, labeler, f"undo-{strength:04d}")
        assert opened is not None
        assert opened.id == submitted[strength - 1]
        assert sheets.of_assignment(work, opened).previous == PickBody("b", strength)
        _counts_agree(work, made[strength - 1])
    assert _take(work, project, labeler).id == submitted[1]  # a reload shows the earlier first
    same = corrections.undo(work, project, labeler, "undo-0002")
    assert same is not None
    assert same.id == submitted[1]


def test_what_was_undone_counts_again_once_submitted(work: Session) -> None:
    project = sample.make_project(work)
    (labeler,) = sample.make_labelers(work, project, 1)
    comparison = sample.make_comparison(work, project)
    _judge(work, project, labeler)
    opened = corrections.undo(work, project, labeler, "undo-key")
    assert opened is not None
    assert comparison.done_slots == 0
    labeling.submit(work, project, labeler, sample.submission(opened, PickBody("tie")))
    _counts_agree(work, comparison)
    rows = work.scalars(select(Judgment).order_by(Judgment.revision)).all()
    assert [row.revision for row in rows] == [1, 2, 3]
    assert [row.is_retraction for row in rows] == [False, True, False]
    assert [row.is_current for row in rows] == [False, False, True]
    assert [row.supersedes_id for row in rows] == [None, rows[0].id, rows[1].id]


def test_undo_is_ten_deep(work: Session) -> None:
    project = sample.make_project(work)
    (labeler,) = sample.make_labelers(work, project, 1)
    for _ in range(12):
        sample.make_comparison(work, project)
    for _ in range(12):
        _judge(work, project, labeler)
    for number in range(10):
        assert corrections.undo(work, project, labeler, f"undo-{number:04d}") is not None
    with pytest.raises(Conflict, match="at most 10 judgments"):
        corrections.undo(work, project, labeler, "undo-more")


def test_a_skip_can_be_undone_while_a_slot_is_free(work: Session) -> None:
    project = sample.make_project(work, overlap=1)
    one, two = sample.make_labelers(work, project, 2)
    comparison = sample.make_comparison(work, project)
    assignment = _take(work, project, one)
    given = submissions.Skip(assignment.id, assignment.lease_token, "k" * 8, "other")
    skips.skip(work, project, one, given)
    opened = corrections.undo(work, project, one, "undo-key")
    assert opened is not None
    _counts_agree(work, comparison)
    skips.skip(
        work, project, one, submissions.Skip(opened.id, opened.lease_token, "m" * 8, "other")
    )
    _take(work, project, two)
    with pytest.raises(Conflict, match="gone to other labelers"):
        corrections.undo(work, project, one, "undo-again")


def test_a_change_is_a_revision_and_a_retraction_frees_the_slot(work: Session) -> None:
    project = sample.make_project(work, overlap=1)
    one, two = sample.make_labelers(work, project, 2)
    comparison = sample.make_comparison(work, project)
    outcome = _judge(work, project, one)
    edit = submissions.Submission(outcome.assignment_id, "", "edit-key", PickBody("b", 4))
    changed = corrections.revise(work, project, one, outcome.judgment_id, edit)
    assert corrections.revise(work, project, one, outcome.judgment_id, edit) == changed
    assert comparison.done_slots == 1
    with pytest.raises(Conflict, match="in the meantime"):
        corrections.retract(work, project, one, outcome.judgment_id, "retract-key")
    corrections.retract(work, project, one, changed.judgment_id, "retract-key")
    _counts_agree(work, comparison)
    assert _claim(work, project, one) is None
    assert _take(work, project, two).comparison_id == comparison.id
    (item,) = labeler_history.page(work, project.id, one)
    assert item.is_retracted
    assert item.body == PickBody("b", 4)
    with pytest.raises(NotFound):
        corrections.retract(work, project, two, changed.judgment_id, "foreign-key")


def test_a_ranking_with_ties_is_stored_in_canonical_order(work: Session) -> None:
    project = sample.make_project(work, judgment_kind=JudgmentKind.RANK, k=4)
    (labeler,) = sample.make_labelers(work, project, 1)
    sample.make_comparison(work, project)
    assignment = _take(work, project, labeler)
    outcome = labeling.submit(
        work, project, labeler, sample.submission(assignment, RankBody((2, 1, 2, 4)))
    )
    judgment = work.get_one(Judgment, outcome.judgment_id)
    assert judgment.ranking == [2, 1, 2, 4]
    assert judgment.shown_order == assignment.shown_order
    assert judgment.preferred is None


def test_an_empty_queue_tells_the_truth(work: Session, clock: sample.Clock) -> None:
    project = sample.make_project(work, overlap=1)
    one, two = sample.make_labelers(work, project, 2)
    assert why_empty(queue_progress.state(work, project, one)) == (
        "There is nothing to judge yet.",
    )
    for _ in range(2):
        sample.make_comparison(work, project)
    assert queue_progress.state(work, project, one).open == 2
    _judge(work, project, one)
    _take(work, project, two)
    clock.forward(minutes=24)
    state = queue_progress.state(work, project, one)
    assert why_empty(state) == (
        "1 comparison is with other labelers; it frees in about 6 minutes.",
        "You have judged 1 of 2 comparisons.",
    )
    _judge(work, project, two)
    assert why_empty(queue_progress.state(work, project, one)) == (
        "You have judged 1 of 2 comparisons.",
        "1 comparison has all the judgments it needs.",
    )
    project.is_paused = True
    work.flush()
    assert _claim(work, project, one) is None


def test_large_queues_are_counted_up_to_a_bound_and_say_so(
    work: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.services.judging.queue_progress.COUNTED_MOST", 2)
    monkeypatch.setattr("app.services.judging.queue_progress.TOTAL_MOST", 3)
    project = sample.make_project(work, overlap=1)
    (labeler,) = sample.make_labelers(work, project, 1)
    for _ in range(4):
        sample.make_comparison(work, project)
    state = queue_progress.state(work, project, labeler)
    assert (state.open, state.is_open_exact, state.total, state.is_total_exact) == (
        2,
        False,
        3,
        False,
    )
    for _ in range(4):
        _judge(work, project, labeler)
    state = queue_progress.state(work, project, labeler)
    assert (state.open, state.total, state.is_total_exact) == (0, 4, True)
    assert why_empty(state) == ("You have judged all 4.",)
