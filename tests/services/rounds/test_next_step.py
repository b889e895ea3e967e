"""What a project's lead should do next, from the first prompt to the decision."""

from datetime import timedelta

import pytest
from sqlalchemy.orm import Session

from app.db import now
from app.domain.next_action import NextAction
from app.domain.plan import RoundPlan
from app.domain.states import JobState, RoundState
from app.models import Job, Project, Round, User, WorkerHeartbeat
from app.services.project import prompts
from app.services.project.prompts import NewPrompt
from app.services.rounds import loop_overview, next_step, round_progress
from app.services.rounds.next_step import LabelingFigures, NextStep
from tests.services.sample_votes import make_comparison, make_project, vote


@pytest.fixture
def desk(session: Session) -> tuple[Project, list[User]]:
    """Give a project with three labelers."""
    return make_project(session)


def next_of(session: Session, project: Project) -> NextStep:
    return loop_overview.of_project(session, project).next


def a_round(session: Session, project: Project, state: RoundState) -> Round:
    row = Round(
        project_id=project.id,
        number=1,
        state=state,
        plan=RoundPlan().to_json(),
        created_at=now(session),
    )
    session.add(row)
    session.flush()
    return row


def a_job(session: Session, round_: Round, state: JobState) -> Job:
    job = Job(
        project_id=round_.project_id,
        round_id=round_.id,
        kind="policy",
        queue="gpu",
        state=state,
        payload={},
        natural_key=f"round-{round_.id}-policy",
        progress_done=3,
        progress_total=9,
        created_at=now(session),
    )
    session.add(job)
    session.flush()
    return job


def test_first_come_prompts(session: Session, desk: tuple[Project, list[User]]) -> None:
    assert next_of(session, desk[0]) == NextStep(NextAction.IMPORT_PROMPTS)


def test_what_a_round_still_needs_is_named(
    session: Session, desk: tuple[Project, list[User]]
) -> None:
    project, _ = desk
    given = [NewPrompt((("user", f"Question {n}"),)) for n in range(40)]
    added = prompts.add(session, project, given).prompts
    assert next_of(session, project).action is NextAction.COMPLETE_SETUP
    assert "base model" in next_of(session, project).problem
    project.base_model = "starter"
    assert "demonstrations" in next_of(session, project).problem
    prompts.add_demonstrations(session, [(prompt, "Yes.") for prompt in added])
    step = next_of(session, project)
    assert step.action is NextAction.PLAN_ROUND
    assert step.round is None
    assert step.imported is not None
    assert step.imported.is_complete


def test_labeling_counts_the_judgments_that_are_left(
    session: Session, desk: tuple[Project, list[User]]
) -> None:
    project, people = desk
    round_ = a_round(session, project, RoundState.LABELING)
    comparison = make_comparison(session, project, round_id=round_.id, overlap=3)
    labeling = next_of(session, project).labeling
    assert labeling is not None
    assert (labeling.left, labeling.agreement, labeling.minutes_left) == (3, None, None)
    vote(session, comparison, people[0], preferred="a")
    vote(session, comparison, people[1], preferred="a")
    step = next_of(session, project)
    assert step.action is NextAction.COLLECT_JUDGMENTS
    assert step.labeling == LabelingFigures(
        done=2, wanted=3, is_evaluation=False, agreement=1.0, minutes_left=15.0, labelers=4
    )


@pytest.mark.parametrize("is_alive", [True, False])
def test_a_job_that_waits_says_whether_anyone_will_take_it(
    session: Session, desk: tuple[Project, list[User]], is_alive: bool
) -> None:
    project, _ = desk
    a_job(session, a_round(session, project, RoundState.POLICY), JobState.QUEUED)
    moment = now(session)
    seen = moment if is_alive else moment - timedelta(hours=1)
    session.add(WorkerHeartbeat(name="w", queues=["gpu"], started_at=seen, seen_at=seen))
    session.flush()
    job = next_of(session, project).job
    assert job is not None
    assert job.is_queued
    assert job.is_served is is_alive


def test_a_running_job_says_how_far_it_is(
    session: Session, desk: tuple[Project, list[User]]
) -> None:
    project, _ = desk
    a_job(session, a_round(session, project, RoundState.POLICY), JobState.RUNNING)
    job = next_of(session, project).job
    assert job is not None
    assert (job.is_queued, job.done, job.total) == (False, 3, 9)
    assert loop_overview.of_project(session, project).now == "policy"


@pytest.mark.parametrize(
    ("state", "action"),
    [
        (RoundState.FAILED, NextAction.RETRY_STAGE),
        (RoundState.DECIDING, NextAction.DECIDE),
        (RoundState.HELD, NextAction.IMPORT_PROMPTS),
    ],
)
def test_each_state_has_its_step(
    session: Session, desk: tuple[Project, list[User]], state: RoundState, action: NextAction
) -> None:
    project, _ = desk
    round_ = a_round(session, project, state)
    overview = round_progress.overview(session, round_)
    assert next_step.what_next(session, project, overview).action is action


def test_a_paused_project_comes_first(session: Session, desk: tuple[Project, list[User]]) -> None:
    project, _ = desk
    project.is_paused = True
    assert next_of(session, project).action is NextAction.RESUME_LABELING
