"""The queue against a plain model: any order of what people do, on both databases."""

from collections import Counter
from collections.abc import Callable
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import Database
from app.domain.assignment import LEASE_BEFORE_ANY_JUDGMENT, UNDO_DEPTH
from app.domain.judgment_kinds import PickBody
from app.domain.states import SlotState
from app.errors import Conflict, LeaseLost, ReplayMismatch
from app.models import Assignment, Comparison, Judgment, Project, Slot
from app.services.judging import corrections, labeling, queue_progress, skips, submissions
from app.services.queue import overlap, slot_leases, steering
from app.services.rounds import judging_flow
from tests.services import sample
from tests.services.queue.queue_model import (
    EXPIRED,
    LEASED,
    RELEASED,
    SKIPPED,
    SUBMITTED,
    SURPLUS,
    Lease,
    Model,
    Question,
    minutes,
)

LABELERS = 4
people = st.integers(0, LABELERS - 1)
some = st.integers(0, 10_000)
answers = st.sampled_from(["a", "b"])


class QueueMachine(RuleBasedStateMachine):
    """Rules call the services and the model alike; each service call sees fresh rows."""

    database: ClassVar[Database]
    clock: ClassVar[sample.Clock]

    def __init__(self) -> None:
        super().__init__()
        self.open = self.database._write()
        self.session: Session = self.open.__enter__()
        self.model = Model()
        self.clock.at = sample.Clock.at  # every example begins at the same moment
        self.submitted: list[tuple[Lease, submissions.Submission, submissions.Outcome]] = []

    def teardown(self) -> None:
        self.session.rollback()
        self.open.__exit__(None, None, None)

    @initialize(overlaps=st.lists(st.integers(1, 3), min_size=3, max_size=5))
    def begin(self, overlaps: list[int]) -> None:
        project = sample.make_project(self.session)
        self.project_id = project.id
        self.labelers = sample.make_labelers(self.session, project, LABELERS)
        for number in overlaps:
            row = sample.make_comparison(self.session, project, overlap=number)
            self.model.questions[row.id] = Question(row.id, number)

    @property
    def project(self) -> Project:
        self.session.flush()
        self.session.expunge_all()  # a request starts with nothing read
        return self.session.get_one(Project, self.project_id)

    @property
    def leases(self) -> list[Lease]:
        return list(self.model.leases.values())

    def refused(self, action: Callable[[], Any], kind: type[Exception] = Conflict) -> None:
        with pytest.raises(kind), self.session.begin_nested():
            action()

    @rule(who=people, knows_them=st.booleans())
    def claim(self, who: int, knows_them: bool) -> None:
        labeler = self.labelers[who]
        held = {one.id for one in self.model.mine(labeler)} if knows_them else set()
        got = slot_leases.claim(
            self.session,
            sample.SECRET,
            self.project,
            labeler,
            held=held,
            draw=sample.never_mix(),
        )
        due = self.model.claim(labeler, held, self.clock())
        if due is None:
            assert got is None
            return
        assert got is not None
        if isinstance(due, Lease):
            assert (got.id, got.expires_at) == (due.id, due.expires_at)
            return
        assert got.comparison_id == due.id
        self.note(got, due)

    @rule(crowd=st.lists(people, min_size=2, max_size=8))
    def many_claim(self, crowd: list[int]) -> None:
        for who in crowd:
            self.claim(who, knows_them=True)

    @precondition(lambda self: self.model.leases)
    @rule(says=answers)
    def many_submit(self, says: str) -> None:
        for which, lease in enumerate(self.leases):
            if lease.state in {LEASED, EXPIRED} and which % 2:
                self.submit(which, says)

    @rule(crowd=st.lists(people, min_size=1, max_size=4))
    def time_runs_out(self, crowd: list[int]) -> None:
        self.clock.at += LEASE_BEFORE_ANY_JUDGMENT + minutes(1)
        for who in crowd:
            self.claim(who, knows_them=True)

    def note(self, got: Assignment, question: Question) -> None:
        self.model.leases[got.id] = Lease(
            got.id, got.labeler_id, question, got.lease_token, got.leased_at, got.expires_at
        )

    @rule(by=st.integers(1, 20))
    def time_passes(self, by: int) -> None:
        self.clock.at += minutes(by)

    def heartbeat(self, who: int) -> None:
        labeler = self.labelers[who]
        expires_at = self.clock() + LEASE_BEFORE_ANY_JUDGMENT
        mine = self.model.mine(labeler)
        told = slot_leases.heartbeat(self.session, self.project, labeler)
        assert told == {one.id: expires_at for one in mine}
        for one in mine:
            one.expires_at = expires_at

    @precondition(lambda self: self.model.leases)
    @rule(which=some, says=answers)
    def submit(self, which: int, says: str) -> None:
        lease = self.leases[which % len(self.leases)]
        given = submissions.Submission(
            lease.id, lease.token, f"key-{len(self.submitted):05d}", PickBody(says)
        )
        owner = self.model.speaks_for(lease)
        becomes = self.model.settle(owner)
        project = self.project

        def action() -> submissions.Outcome:
            return labeling.submit(self.session, project, lease.labeler, given)

        if becomes is None:
            self.refused(action)
            return
        outcome = action()
        assert (outcome.assignment_id, outcome.is_surplus) == (owner.id, becomes is SURPLUS)
        owner.state, owner.ended_at = becomes, self.clock()
        owner.answer, owner.judgment_id = says, outcome.judgment_id
        owner.said += 1
        self.submitted.append((lease, given, outcome))

    def submit_again(self, which: int) -> None:
        lease, given, outcome = self.submitted[which % len(self.submitted)]
        again = labeling.submit(self.session, self.project, lease.labeler, given)
        assert again.judgment_id == outcome.judgment_id
        assert again.is_surplus == outcome.is_surplus

    def submit_something_else_under_the_same_key(self, which: int) -> None:
        lease, given, _ = self.submitted[which % len(self.submitted)]
        other = submissions.Submission(lease.id, lease.token, given.key, PickBody("tie"))
        project = self.project
        self.refused(
            lambda: labeling.submit(self.session, project, lease.labeler, other), ReplayMismatch
        )

    def submit_with_a_token_of_before(self, which: int) -> None:
        lease = self.leases[which % len(self.leases)]
        stale = submissions.Submission(lease.id, "token of before", "some-new-key", PickBody("a"))
        project = self.project
        self.refused(
            lambda: labeling.submit(self.session, project, lease.labeler, stale), LeaseLost
        )

    @precondition(lambda self: self.model.leases)
    @rule(which=some)
    def skip(self, which: int) -> None:
        lease = self.leases[which % len(self.leases)]
        given = submissions.Skip(lease.id, lease.token, f"skip-{lease.id}-{lease.said}", "unclear")
        project = self.project

        def action() -> None:
            skips.skip(self.session, project, lease.labeler, given)

        if lease.state in {SUBMITTED, SURPLUS}:
            self.refused(action)
            return
        action()
        if lease.state is LEASED:
            lease.state, lease.ended_at = SKIPPED, self.clock()

    @rule(who=people)
    def undo(self, who: int) -> None:
        labeler = self.labelers[who]
        mine = [one for one in self.leases if one.labeler == labeler]
        over = [one for one in mine if one.state in {SUBMITTED, SKIPPED}]
        last = max(over, key=lambda one: (one.ended_at, one.id), default=None)
        key = f"undo-{sum(one.said for one in mine)}-{self.clock():%d%H%M}-{len(over)}"
        project = self.project

        def action() -> Assignment | None:
            return corrections.undo(self.session, project, labeler, key)

        reopened = sum(one.state is LEASED and one.ended_at is not None for one in mine)
        is_lost = last and last.state is SKIPPED and self.model.free(last.question) == 0
        if is_lost or reopened >= UNDO_DEPTH:
            self.refused(action)
            return
        opened = action()
        assert (opened and opened.id) == (last and last.id)
        if last is None or opened is None:
            return
        assert opened.lease_token != last.token
        if last.state is SUBMITTED:
            last.said += 1
        last.state, last.answer, last.judgment_id = LEASED, None, None
        last.token, last.expires_at = opened.lease_token, opened.expires_at

    @precondition(lambda self: any(one.judgment_id for one in self.model.leases.values()))
    @rule(which=some, says=answers)
    def edit(self, which: int, says: str) -> None:
        said = [one for one in self.leases if one.judgment_id is not None]
        lease = said[which % len(said)]
        given = submissions.Submission(
            lease.id, "", f"edit-{lease.id}-{lease.said}", PickBody(says)
        )
        assert lease.judgment_id is not None
        outcome = corrections.revise(
            self.session, self.project, lease.labeler, lease.judgment_id, given
        )
        lease.answer, lease.judgment_id = says, outcome.judgment_id
        lease.said += 1

    @precondition(lambda self: any(one.judgment_id for one in self.model.leases.values()))
    @rule(which=some)
    def retract(self, which: int) -> None:
        said = [one for one in self.leases if one.judgment_id is not None]
        lease = said[which % len(said)]
        assert lease.judgment_id is not None
        corrections.retract(
            self.session,
            self.project,
            lease.labeler,
            lease.judgment_id,
            f"take-{lease.id}-{lease.said}",
        )
        lease.state, lease.answer, lease.judgment_id = RELEASED, None, None
        lease.said += 1

    @rule(who=people)
    def release(self, who: int) -> None:
        labeler = self.labelers[who]
        fresh = [one for one in self.model.mine(labeler) if one.ended_at is None]
        assert slot_leases.release(self.session, self.project.id, labeler) == len(fresh)
        for one in fresh:
            one.state = RELEASED

    def pause_or_resume_somebody(self, who: int) -> None:
        labeler = self.labelers[who]
        self.model.paused ^= {labeler}
        steering.pause(
            self.session,
            self.project.id,
            labeler,
            is_paused=labeler in self.model.paused,
            actor_id=labeler,
        )

    def pause_or_resume_everybody(self) -> None:
        self.model.is_paused = not self.model.is_paused
        self.project.is_paused = self.model.is_paused

    @rule(number=st.integers(1, 4))
    def change_k(self, number: int) -> None:
        changed = overlap.change(self.session, self.project.id, number)
        assert changed == self.model.lower_or_raise(number)

    def change_priority(self, which: int, priority: int) -> None:
        question = self.question(which)
        steering.set_priority(
            self.session, self.project.id, question.id, priority, actor_id=self.labelers[0]
        )
        question.priority = priority

    @rule(which=some)
    def withdraw_or_restore(self, which: int) -> None:
        question = self.question(which)
        act = steering.restore if question.is_withdrawn else judging_flow.withdraw
        act(self.session, self.project.id, question.id, actor_id=self.labelers[0])
        question.is_withdrawn = not question.is_withdrawn
        if question.is_withdrawn:
            for one in self.model.of(question, LEASED):
                one.state = RELEASED

    def reassign(self, which: int, who: int) -> None:
        question, target = self.question(which), self.labelers[who]
        holders = self.model.of(question, LEASED)
        source = holders[0] if holders and holders[0].labeler != target else None
        project = self.project

        def action() -> Assignment:
            return steering.reassign(
                self.session,
                sample.SECRET,
                project,
                question.id,
                to_user_id=target,
                from_user_id=source.labeler if source else None,
                actor_id=target,
            )

        has_room = self.model.free(question) > 0 or (source and not question.is_withdrawn)
        if not has_room or not self.model.may_take(target, question):
            self.refused(action)
            return
        if source:
            source.state = RELEASED
        self.note(action(), question)

    @rule(who=people)
    def the_queue_tells_the_truth(self, who: int) -> None:
        labeler = self.labelers[who]
        state = queue_progress.state(self.session, self.project, labeler)
        mine = self.model.counts(labeler)
        open_ = [
            one
            for one in self.model.questions.values()
            if self.model.free(one) > 0 and self.model.may_take(labeler, one)
        ]
        assert (state.open, state.is_open_exact) == (len(open_), True)
        assert (state.held, state.skipped) == (mine[LEASED], mine[SKIPPED])
        assert state.judged == mine[SUBMITTED] + mine[SURPLUS]
        assert state.total == sum(not one.is_withdrawn for one in self.model.questions.values())
        others, frees_at = self.model.with_others(labeler)
        assert state.with_others == others
        wait = None if frees_at is None else max((frees_at - self.clock()).total_seconds(), 0)
        assert state.next_free_s == wait
        assert state.labeler_is_paused == (labeler in self.model.paused)
        assert state.project_is_paused == self.model.is_paused

    @rule(act=st.integers(0, 3), which=some, number=st.integers(0, 3))
    def the_lead_acts(self, act: int, which: int, number: int) -> None:
        if act == 0:
            self.pause_or_resume_somebody(number)
        elif act == 1:
            self.pause_or_resume_everybody()
        elif act == 2:
            self.change_priority(which, number - 1)
        else:
            self.reassign(which, number)

    @rule(which=some)
    def the_lead_withdraws_and_restores(self, which: int) -> None:
        self.withdraw_or_restore(which)
        self.states_and_counts_agree_with_the_rows()
        self.withdraw_or_restore(which)

    @precondition(lambda self: self.submitted)
    @rule(act=st.integers(0, 3), which=some, who=people)
    def somebody_asks(self, act: int, which: int, who: int) -> None:
        if act == 0:
            self.submit_again(which)
        elif act == 1:
            self.submit_something_else_under_the_same_key(which)
        elif act == 2:
            self.submit_with_a_token_of_before(which)
        else:
            self.heartbeat(who)

    def question(self, which: int) -> Question:
        return list(self.model.questions.values())[which % len(self.model.questions)]

    @invariant()
    def states_and_counts_agree_with_the_rows(self) -> None:
        if not self.model.questions:
            return
        self.session.flush()
        self.session.expunge_all()
        rows = self.session.execute(
            select(Assignment.id, Assignment.state, Assignment.ended_at).where(
                Assignment.project_id == self.project_id
            )
        ).all()
        assert {(row.id, row.state, row.ended_at) for row in rows} == {
            (one.id, one.state, one.ended_at) for one in self.leases
        }
        for row in self.session.scalars(
            select(Comparison).where(Comparison.project_id == self.project_id)
        ):
            question = self.model.questions[row.id]
            active = self.model.of(question, LEASED, SUBMITTED)
            assert len(active) <= row.overlap == question.overlap
            assert len({one.labeler for one in active}) == len(active)
            assert row.done_slots == len(self.model.of(question, SUBMITTED))
            assert row.open_slots == self.model.free(question)
            assert row.is_open == (row.open_slots > 0)
            self.slots_are(row, active)

    def slots_are(self, row: Comparison, active: list[Lease]) -> None:
        states: Counter[str] = Counter(
            self.session.scalars(select(Slot.state).where(Slot.comparison_id == row.id))
        )
        assert states[SlotState.OPEN] == row.open_slots
        assert states[SlotState.DONE] == row.done_slots
        assert states[SlotState.LEASED] == sum(one.state is LEASED for one in active)

    @invariant()
    def nothing_acknowledged_is_lost(self) -> None:
        if not self.submitted:
            return
        rows = self.session.execute(
            select(Judgment.id, Judgment.assignment_id, Judgment.preferred).where(
                Judgment.project_id == self.project_id,
                Judgment.is_current,
                Judgment.is_retraction.is_(False),
            )
        ).all()
        assert {tuple(row) for row in rows} == {
            (one.judgment_id, one.id, one.answer)
            for one in self.leases
            if one.judgment_id is not None
        }
        kept = set(
            self.session.scalars(
                select(Judgment.submission_key).where(Judgment.project_id == self.project_id)
            )
        )
        assert {given.key for _, given, _ in self.submitted} <= kept


def _run(url: str, examples: int, steps: int) -> None:
    QueueMachine.clock = sample.Clock()
    QueueMachine.database = Database(url, clock=QueueMachine.clock)
    try:
        run_state_machine_as_test(
            QueueMachine,
            settings=settings(
                max_examples=examples,
                stateful_step_count=steps,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
    finally:
        QueueMachine.database.dispose()


def test_the_queue_does_what_the_model_says(any_url: str) -> None:
    """On PostgreSQL, whose answers take longer, fewer examples: what differs there is the SQL."""
    _run(any_url, examples=12 if any_url.startswith("postgresql") else 40, steps=50)


@pytest.mark.slow
def test_the_queue_does_what_the_model_says_for_long(any_url: str) -> None:
    _run(any_url, examples=600, steps=80)
