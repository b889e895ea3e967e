from collections import Counter

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import Database
from app.domain.judgment_kinds import JudgmentKind
from app.domain.states import AssignmentState, SlotState
from app.errors import Invalid
from app.models import Comparison, ComparisonCompletion, Slot
from app.services.judging import corrections, labeling, skips, submissions
from app.services.queue import comparisons, overlap, slot_leases
from tests.services import sample


def _order(session: Session, comparison_id: int) -> list[int]:
    return list(
        session.scalars(
            select(ComparisonCompletion.completion_id)
            .where(ComparisonCompletion.comparison_id == comparison_id)
            .order_by(ComparisonCompletion.position)
        )
    )


def test_a_query_finds_which_comparisons_a_rule_chose(any_database: Database) -> None:
    with any_database.transaction() as session:
        project = sample.make_project(session)
        made = []
        for chosen in (None, {"rule": "uncertainty"}):
            prompt_id, ids = sample.make_completions(session, project, 2)
            row = comparisons.create(
                session, project, prompt_id, ids, natural_key=f"{chosen}", seed=1, chosen=chosen
            )
            made.append(row.id)
    with any_database.reader() as session:
        query = select(Comparison.id, Comparison.chosen).where(Comparison.chosen.is_not(None))
        assert [tuple(row) for row in session.execute(query)] == [
            (made[1], {"rule": "uncertainty"})
        ]


def test_the_same_natural_key_gives_the_same_comparison(session: Session) -> None:
    project = sample.make_project(session)
    prompt_id, ids = sample.make_completions(session, project, 2)
    made = [
        comparisons.create(session, project, prompt_id, ids, natural_key="one", seed=seed)
        for seed in (1, 2)
    ]
    assert made[0].id == made[1].id
    assert session.query(Slot).filter_by(comparison_id=made[0].id).count() == 3


def test_canonical_order_is_random_and_fixed_by_the_seed(session: Session) -> None:
    project = sample.make_project(session)
    first = Counter[bool]()
    for number in range(60):
        prompt_id, ids = sample.make_completions(session, project, 2)
        made = comparisons.create(
            session, project, prompt_id, ids, natural_key=f"n{number}", seed=3
        )
        first[_order(session, made.id)[0] == ids[0]] += 1
    assert min(first.values()) > 12  # 30 ± 4.6 standard deviations


def test_a_gold_answer_follows_its_completion_into_canonical_order(session: Session) -> None:
    project = sample.make_project(session)
    for number in range(8):
        prompt_id, ids = sample.make_completions(session, project, 2)
        made = comparisons.create(
            session,
            project,
            prompt_id,
            ids,
            natural_key=f"g{number}",
            seed=3,
            gold_answer={"preferred": "b"},
        )
        assert made.gold_answer is not None
        side = made.gold_answer["preferred"]
        assert _order(session, made.id)["ab".index(side)] == ids[1]
        ranked = comparisons.create(
            session,
            project,
            prompt_id,
            ids,
            natural_key=f"r{number}",
            seed=3,
            kind=JudgmentKind.RANK,
            gold_answer={"ranking": [2, 1]},
        )
        assert ranked.gold_answer is not None
        assert ranked.gold_answer["ranking"][_order(session, ranked.id).index(ids[1])] == 1


def test_what_cannot_be_compared_is_refused(session: Session) -> None:
    project = sample.make_project(session)
    prompt_id, ids = sample.make_completions(session, project, 3)
    other_prompt, _ = sample.make_completions(session, project, 2)

    def create(prompt: int, completions: list[int], overlap: int | None = None) -> None:
        comparisons.create(
            session, project, prompt, completions, natural_key="x", seed=1, overlap=overlap
        )

    with pytest.raises(Invalid, match="takes 2 completions, not 3"):
        create(prompt_id, ids)
    with pytest.raises(Invalid, match="twice"):
        create(prompt_id, [ids[0], ids[0]])
    with pytest.raises(Invalid, match="does not belong to prompt"):
        create(other_prompt, ids[:2])
    with pytest.raises(Invalid, match="overlap must be 1 to 99, not 0"):
        create(prompt_id, ids[:2], overlap=0)


def test_a_withdrawn_comparison_leaves_the_queue_and_keeps_what_was_judged(
    session: Session,
) -> None:
    project = sample.make_project(session)
    one, two, three = sample.make_labelers(session, project, 3)
    comparison = sample.make_comparison(session, project)
    judged = slot_leases.claim(session, sample.SECRET, project, one)
    leased = slot_leases.claim(session, sample.SECRET, project, two)
    assert judged is not None
    assert leased is not None
    labeling.submit(session, project, one, sample.submission(judged))
    comparisons.withdraw(session, comparison.id)
    session.flush()
    assert (comparison.open_slots, comparison.done_slots, comparison.is_open) == (0, 1, False)
    assert slot_leases.claim(session, sample.SECRET, project, three) is None
    late = labeling.submit(session, project, two, sample.submission(leased))
    assert late.is_surplus
    assert leased.state == AssignmentState.SURPLUS


def test_a_round_does_not_wait_for_comparisons_that_nobody_can_take(session: Session) -> None:
    project = sample.make_project(session, overlap=2)
    one, two = sample.make_labelers(session, project, 2)
    comparison = sample.make_comparison(session, project, round_id=None)
    first = slot_leases.claim(session, sample.SECRET, project, one)
    second = slot_leases.claim(session, sample.SECRET, project, two)
    assert first is not None
    assert second is not None
    labeling.submit(session, project, one, sample.submission(first))
    skips.skip(
        session, project, two, submissions.Skip(second.id, second.lease_token, "k" * 8, "unclear")
    )
    assert comparison.open_slots == 1
    comparisons.settle_for(session, comparison.id)
    session.flush()
    assert (comparison.open_slots, comparison.done_slots, comparison.overlap) == (0, 1, 1)
    states = Counter(session.scalars(select(Slot.state)))
    assert states == {SlotState.DONE: 1, SlotState.CLOSED: 1}


def test_restoring_does_not_open_a_slot_for_a_judgment_that_is_being_given_again(
    session: Session,
) -> None:
    project = sample.make_project(session, overlap=2)
    (labeler,) = sample.make_labelers(session, project, 1)
    comparison = sample.make_comparison(session, project)
    assignment = slot_leases.claim(
        session, sample.SECRET, project, labeler, draw=sample.never_mix()
    )
    assert assignment is not None
    labeling.submit(session, project, labeler, sample.submission(assignment))
    overlap.change(session, project.id, 1)
    comparisons.withdraw(session, comparison.id)
    assert corrections.undo(session, project, labeler, "undo-key-1") is not None
    comparisons.restore(session, comparison.id)
    assert (comparison.overlap, comparison.open_slots) == (1, 0)
