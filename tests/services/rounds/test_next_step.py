"""What the project page tells its lead to do, from the first prompt to the decision."""

from datetime import timedelta

import pytest
from sqlalchemy.orm import Session

from app.db import now
from app.domain.plan import RoundPlan
from app.domain.states import JobState, RoundState
from app.models import Job, Project, Round, User, WorkerHeartbeat
from app.services.project import prompts
from app.services.project.prompts import NewPrompt
from app.services.rounds import loop_overview, next_step, round_progress
from app.services.rounds.next_step import Next
from tests.services.sample_votes import make_comparison, make_project, vote


@pytest.fixture
def desk(session: Session) -> tuple[Project, list[User]]:
    """Give a project with three labelers."""
    return make_project(session)


def told(session: Session, project: Project) -> Next:
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
    found = told(session, desk[0])
    assert found.title == "Bring in prompts"
    assert found.actions[0].url.endswith("/prompts")


def test_what_a_round_still_needs_is_named(
    session: Session, desk: tuple[Project, list[User]]
) -> None:
    project, _ = desk
    given = [NewPrompt((("user", f"Question {n}"),)) for n in range(40)]
    added = prompts.add(session, project, given).prompts
    assert "base model" in told(session, project).text
    project.base_model = "starter"
    assert "demonstrations" in told(session, project).text
    prompts.add_demonstrations(session, [(prompt, "Yes.") for prompt in added])
    found = told(session, project)
    assert found.title == "Start round 1"
    assert found.actions[0].url.endswith("/rounds/new")


def test_labeling_says_how_many_judgments_are_left(
    session: Session, desk: tuple[Project, list[User]]
) -> None:
    project, people = desk
    round_ = a_round(session, project, RoundState.LABELING)
    comparison = make_comparison(session, project, round_id=round_.id, overlap=3)
    assert told(session, project).title == "3 more judgments, then train"
    assert not any(action.is_post for action in told(session, project).actions)
    vote(session, comparison, people[0], preferred="a")
    vote(session, comparison, people[1], preferred="a")
    found = told(session, project)
    assert found.title == "1 more judgment, then train"
    assert "2 of 3" in found.text
    assert "100 %" in found.text
    assert any(action.is_post and action.url.endswith("/finish") for action in found.actions)


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
    assert ("start one" in told(session, project).text) is not is_alive


def test_a_running_job_says_how_far_it_is(
    session: Session, desk: tuple[Project, list[User]]
) -> None:
    project, _ = desk
    a_job(session, a_round(session, project, RoundState.POLICY), JobState.RUNNING)
    assert "3 of 9" in told(session, project).text
    assert loop_overview.of_project(session, project).now == "policy"


@pytest.mark.parametrize(
    ("state", "title"),
    [
        (RoundState.FAILED, "Round 1 has failed"),
        (RoundState.DECIDING, "Promote or hold"),
        (RoundState.HELD, "Bring in prompts"),
    ],
)
def test_each_state_has_its_step(
    session: Session, desk: tuple[Project, list[User]], state: RoundState, title: str
) -> None:
    project, _ = desk
    round_ = a_round(session, project, state)
    overview = round_progress.overview(session, round_)
    assert next_step.what_next(session, project, overview).title == title


def test_every_state_says_something_to_do(
    session: Session, desk: tuple[Project, list[User]]
) -> None:
    project, _ = desk
    round_ = a_round(session, project, RoundState.PLANNED)
    for state in RoundState:
        round_.state = state
        session.flush()
        found = told(session, project)
        assert found.title, state
        assert found.actions, state


def test_a_paused_project_says_so_first(session: Session, desk: tuple[Project, list[User]]) -> None:
    project, _ = desk
    project.is_paused = True
    assert told(session, project).title == "Labeling is paused"
