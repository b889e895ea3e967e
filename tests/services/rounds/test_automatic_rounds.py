"""A round that starts automatically: when, how often, and what stops it."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db import Database, now
from app.domain import recommendations
from app.domain.automatic_rounds import AutomaticSettings, Blocker
from app.domain.id_set import IdSet
from app.domain.judgment_kinds import PickBody
from app.domain.states import RoundState
from app.errors import Conflict
from app.models import (
    AuditEvent,
    CheckpointInput,
    Comparison,
    Export,
    ExportedJudgments,
    Judgment,
    Membership,
    Project,
    Purpose,
    Role,
    Round,
)
from app.services.judging.submissions import Submission
from app.services.queue import slot_leases
from app.services.rounds import automatic_launch, automatic_rounds, judging_flow, rounds
from tests.services import sample
from tests.services.rounds.stages import PLAN, end_job, judge, launch, make_project, state_of

SECRET = b"s" * 32


@pytest.fixture
def lead(work: Session, project: Project) -> int:
    (user_id,) = sample.make_labelers(work, project, 1)
    work.query(Membership).filter_by(user_id=user_id).one().role = Role.LEAD
    return user_id


@pytest.fixture
def on(work: Session, project: Project, lead: int) -> int:
    """Turn automatic rounds on, with a plan of their own; return who did."""
    turn_on(work, project, lead)
    return lead


def turn_on(session: Session, project: Project, lead: int, **changes: Any) -> None:
    values = {"judgments": 2, "most_in_row": 2, "hours_between": 0, "promotes": False} | changes
    automatic_rounds.save(
        session,
        project,
        AutomaticSettings(**values),
        is_on=True,
        plan=PLAN.to_json(),
        actor_id=lead,
    )


def judgments(session: Session, project: Project, number: int) -> list[int]:
    """Have comparisons outside rounds judged by the project's labeler."""
    labeler = session.scalars(
        select(Membership.user_id).where(
            Membership.project_id == project.id, Membership.role == Role.LABELER
        )
    ).first()
    assert labeler is not None
    for _ in range(number):
        sample.make_comparison(session, project)
    return [_judge(session, project, labeler) for _ in range(number)]


def _judge(session: Session, project: Project, labeler: int) -> int:
    assignment = slot_leases.claim(session, SECRET, project, labeler)
    assert assignment is not None
    given = Submission(
        assignment.id,
        assignment.lease_token,
        f"key-{labeler}-{assignment.id:06d}",
        PickBody(preferred="a", strength=None, both_bad=False),
        active_ms=1000,
    )
    return judging_flow.submit(session, project, labeler, given).judgment_id


def blocker_of(session: Session, project: Project) -> Blocker | None:
    return automatic_rounds.status(session, project).blocker


def decide_round(session: Session, round_: Round) -> None:
    """Take a round to the point of decision, or past it."""
    while state_of(round_) not in (RoundState.DECIDING, RoundState.PROMOTED):
        if state_of(round_) is RoundState.LABELING:
            judge(session, round_)
        else:
            end_job(session, round_, compare=False)


def test_a_round_starts_with_the_judgment_that_makes_them_enough(
    work: Session, project: Project, on: int
) -> None:
    assert automatic_launch.advance(work, project.id) is None
    assert project.automatic_look_from_id == 2  # the second judgment at the earliest
    judgments(work, project, 1)
    (of_gold,) = judgments(work, project, 1)
    work.get_one(Comparison, work.get_one(Judgment, of_gold).comparison_id).purpose = Purpose.GOLD
    work.flush()
    assert automatic_launch.advance(work, project.id) is None
    status = automatic_rounds.status(work, project)
    assert (status.blocker, status.judgments, status.missing) == (Blocker.TOO_FEW, 1, 1)
    judgments(work, project, 1)
    started = automatic_launch.advance(work, project.id)
    assert started is not None
    assert (started.is_automatic, started.created_by_id) == (True, on)
    event = work.scalars(select(AuditEvent).where(AuditEvent.action == "round.launch")).one()
    trigger = {"judgments": 2, "since": "", "set_by_id": on}
    assert (event.actor_id, event.details["automatic"]) == (None, trigger)
    assert automatic_launch.advance(work, project.id) is None
    assert blocker_of(work, project) is Blocker.ROUND_OPEN


def test_only_judgments_after_those_of_the_last_reward_model_are_new(
    work: Session, project: Project, on: int
) -> None:
    used = judgments(work, project, 3)
    round_ = launch(work, project)
    while round_.reward_checkpoint_id is None:
        judge(work, round_) if state_of(round_) is RoundState.LABELING else end_job(work, round_)
    export = Export(
        project_id=project.id, number=1, format="rich", options={}, created_at=now(work)
    )
    work.add(export)
    work.flush()
    for block, members in IdSet(used[:2]).blocks():
        work.add(ExportedJudgments(export_id=export.id, block=block, members=members))
    work.add(CheckpointInput(checkpoint_id=round_.reward_checkpoint_id, export_id=export.id))
    work.flush()
    status = automatic_rounds.status(work, project)
    assert (status.judgments, status.since) == (1, "Reward 1")
    round_.state, round_.reward_checkpoint_id = (
        RoundState.PROMOTED,
        None,
    )  # as without a reward model
    work.flush()
    status = automatic_rounds.status(work, project)
    assert (status.judgments, status.since) == (0, "round 1")


def test_as_many_rounds_in_a_row_as_allowed_then_a_person_decides(
    work: Session, project: Project, lead: int
) -> None:
    turn_on(work, project, lead, most_in_row=1)
    judgments(work, project, 2)
    first = automatic_launch.advance(work, project.id)
    assert first is not None
    first.state = RoundState.PROMOTED  # as the product may
    work.flush()
    judgments(work, project, 2)
    assert automatic_launch.advance(work, project.id) is None
    assert blocker_of(work, project) is Blocker.IN_ROW
    automatic_rounds.resume(work, project, actor_id=lead)
    with pytest.raises(Conflict, match="not paused"):
        automatic_rounds.resume(work, project, actor_id=lead)
    assert automatic_launch.advance(work, project.id) is not None
    automatic_rounds.note_person(work, project.id)
    assert automatic_rounds.status(work, project).launched_in_row == 0


@pytest.mark.parametrize("way", ["failed", "held", "cancelled"])
def test_a_round_that_needed_a_person_stops_them_until_somebody_resumes(
    work: Session, project: Project, on: int, way: str
) -> None:
    round_ = launch(work, project)
    if way == "failed":
        end_job(work, round_, fails=True)
    elif way == "cancelled":
        rounds.cancel(work, round_, reason="", actor_id=on)
    else:
        decide_round(work, round_)
        rounds.decide(work, round_, promote=False, reason="", actor_id=on)
    status = automatic_rounds.status(work, project)
    assert (status.blocker, status.pause_reason) == (Blocker.PAUSED, f"round 1 {_TOLD[way]}")
    assert "automatic_rounds.stop" in work.scalars(select(AuditEvent.action)).all()
    automatic_rounds.resume(work, project, actor_id=on)
    expected = Blocker.ROUND_OPEN if way == "failed" else Blocker.TOO_FEW
    assert blocker_of(work, project) is expected


_TOLD = {"failed": "failed", "held": "was held", "cancelled": "was cancelled"}


def test_a_round_that_cannot_start_says_why_and_stops_them(
    work: Session, project: Project, on: int
) -> None:
    judgments(work, project, 2)
    project.base_model = None
    assert automatic_launch.advance(work, project.id) is None
    status = automatic_rounds.status(work, project)
    assert status.blocker is Blocker.PAUSED
    assert "round 1 could not start: choose a base model" in status.pause_reason
    assert work.scalar(select(func.count(Round.id))) == 0


def test_no_round_starts_for_somebody_who_no_longer_leads_the_project(
    work: Session, project: Project, on: int
) -> None:
    judgments(work, project, 2)
    work.query(Membership).filter_by(user_id=on).one().role = Role.LABELER
    work.flush()
    assert automatic_launch.advance(work, project.id) is None
    assert "no longer leads" in automatic_rounds.status(work, project).pause_reason


@pytest.mark.parametrize("promotes", [True, False])
def test_a_clearly_better_policy_is_promoted_only_if_the_settings_say_so(
    work: Session, project: Project, lead: int, promotes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    turn_on(work, project, lead, promotes=promotes)
    round_ = launch(work, project)
    round_.is_automatic = True
    better = recommendations.Recommendation(True, "The new policy is better (70 % [60, 80])")
    monkeypatch.setattr(recommendations, "recommend", lambda _results: better)
    decide_round(work, round_)
    rounds.advance(work, round_.id)
    assert state_of(round_) is (RoundState.PROMOTED if promotes else RoundState.DECIDING)
    assert round_.reason == (f"Automatic: {better.finding}" if promotes else "")
    assert (project.policy_checkpoint_id == round_.policy_checkpoint_id) is promotes


def test_a_round_that_a_person_launched_waits_for_a_person(
    work: Session, project: Project, lead: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    turn_on(work, project, lead, promotes=True)
    round_ = launch(work, project)
    better = recommendations.Recommendation(True, "better")
    monkeypatch.setattr(recommendations, "recommend", lambda _results: better)
    decide_round(work, round_)
    assert state_of(round_) is RoundState.DECIDING


def test_a_sweep_does_not_count_while_too_few_can_be_there(
    work: Session, project: Project, lead: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[int] = []
    count_new = automatic_rounds.count_new

    def count(session: Session, project_id: int, most: int) -> int:
        counted.append(most)
        return count_new(session, project_id, most)

    monkeypatch.setattr(automatic_rounds, "count_new", count)
    turn_on(work, project, lead, judgments=500)
    for _ in range(3):
        automatic_launch.sweep(work)
    assert counted == [500]
    project.is_paused, project.automatic_look_from_id = True, None  # something else is waited for
    automatic_launch.sweep(work)
    assert counted == [500]


@pytest.fixture
def due(any_database: Database) -> tuple[Database, int, list[int]]:
    """Give a project that lacks two judgments, and two labelers with a comparison each."""
    with any_database.transaction() as session:
        project = make_project(session)
        project.median_active_ms = 1000  # or the first judgment would hold the project's row
        lead, *people = sample.make_labelers(session, project, 3)
        session.query(Membership).filter_by(user_id=lead).one().role = Role.LEAD
        turn_on(session, project, lead)
        automatic_launch.advance(session, project.id)
        for _ in people:
            sample.make_comparison(session, project)
    return any_database, project.id, people


def submit(database: Database, project_id: int, labeler: int) -> None:
    with database.transaction() as session:
        _judge(session, session.get_one(Project, project_id), labeler)


def rounds_started(database: Database, project_id: int) -> int:
    """Count the rounds; nothing else may have come of it."""
    with database.reader() as session:
        status = automatic_rounds.status(session, session.get_one(Project, project_id))
        assert status.pause_reason == ""
        return session.scalar(select(func.count(Round.id))) or 0


def test_the_last_judgment_starts_the_round_without_a_sweep(
    due: tuple[Database, int, list[int]],
) -> None:
    database, project_id, (first, second) = due
    submit(database, project_id, first)
    assert rounds_started(database, project_id) == 0
    submit(database, project_id, second)
    assert rounds_started(database, project_id) == 1


def test_two_judgments_at_once_start_one_round(due: tuple[Database, int, list[int]]) -> None:
    database, project_id, people = due
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(partial(submit, database, project_id), people))
    with database.transaction() as session:  # a judgment may be committed after a later one
        automatic_launch.sweep(session)
    assert rounds_started(database, project_id) == 1


def test_several_workers_at_once_start_one_round(due: tuple[Database, int, list[int]]) -> None:
    database, project_id, people = due
    with database.transaction() as session:
        project = session.get_one(Project, project_id)
        project.automatic_look_from_id = None
        for labeler in people:
            _judge(session, project, labeler)

    def sweep(_at: int) -> None:
        with database.transaction() as session:
            automatic_launch.sweep(session)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(sweep, range(4)))
    assert rounds_started(database, project_id) == 1
