"""A round moved from state to state by jobs that are only said to have run."""

import threading
from collections.abc import Callable
from dataclasses import replace

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db import Database, now
from app.domain.judgment_kinds import JudgmentKind
from app.domain.plan import STARTER, RoundPlan
from app.domain.reward_parts import LabelerWeight
from app.domain.reward_plan import RewardPlan
from app.domain.states import JobState, RoundState
from app.errors import Conflict, Invalid, NotFound, NotReady
from app.models import (
    AuditEvent,
    Checkpoint,
    CheckpointKind,
    Comparison,
    Demonstration,
    Job,
    Membership,
    Project,
    Prompt,
    Purpose,
    Round,
    Split,
)
from app.services.jobs import jobs
from app.services.quality import weights_in_use
from app.services.queue import slot_leases
from app.services.rounds import evaluations, launch_plans, readiness, round_progress, rounds
from tests.services import sample
from tests.services.rounds.stages import PLAN, end_job, judge, launch, make_project, state_of, write


def test_a_round_goes_from_launch_to_promotion(work: Session, project: Project) -> None:
    round_ = launch(work, project)
    assert (round_.number, state_of(round_)) == (1, RoundState.GENERATING)
    assert end_job(work, round_) == "generate"
    assert state_of(round_) == RoundState.LABELING
    rounds.advance(work, round_.id)
    assert state_of(round_) == RoundState.LABELING, "nobody has judged"
    judge(work, round_)
    assert state_of(round_) == RoundState.REWARD
    assert [end_job(work, round_) for _ in range(3)] == ["reward", "policy", "evaluate"]
    assert state_of(round_) == RoundState.EVALUATING
    judge(work, round_)
    assert state_of(round_) == RoundState.DECIDING
    found = evaluations.of_round(work, round_.id)
    assert found is not None
    assert found.state == evaluations.COMPLETE
    rounds.decide(work, round_, promote=True, reason=" better ", actor_id=None)
    assert (state_of(round_), round_.reason) == (RoundState.PROMOTED, "better")
    assert project.policy_checkpoint_id == round_.policy_checkpoint_id is not None
    second = launch(work, project)
    assert (second.number, second.policy_before_id) == (2, round_.policy_checkpoint_id)
    actions = set(work.scalars(select(AuditEvent.action)))
    assert {"round.launch", "round.promote"} <= actions


def test_a_held_policy_is_not_the_next_rounds(work: Session, project: Project) -> None:
    round_ = launch(work, project)
    end_job(work, round_)
    judge(work, round_)
    for _ in range(3):
        end_job(work, round_, compare=False)
    assert state_of(round_) == RoundState.DECIDING, "no answers differed, so nobody is asked"
    rounds.decide(work, round_, promote=False, reason="worse", actor_id=None)
    assert project.policy_checkpoint_id is None
    assert launch(work, project).policy_before_id == round_.policy_before_id


def test_sft_comes_first_once(work: Session, project: Project) -> None:
    data = launch_plans.data_of(work, project)
    assert "SFT is left out" in readiness.preview(work, project, RoundPlan(), data).model_remarks[0]
    skipped = launch(work, project, RoundPlan())
    assert (state_of(skipped), skipped.plan["sft"]) == (RoundState.GENERATING, None)
    rounds.cancel(work, skipped, reason="enough", actor_id=None)
    project.base_model = STARTER
    with pytest.raises(NotReady, match="a starter is trained from scratch on demonstrations"):
        launch(work, project, RoundPlan())
    project.base_model = "some/base"
    prompt_id = work.scalars(select(Prompt.id).where(Prompt.split == Split.TRAIN)).first()
    work.add(
        Demonstration(
            project_id=project.id,
            prompt_id=prompt_id,
            text="Like this.",
            content_hash="1" * 64,
            created_at=now(work),
        )
    )
    round_ = launch(work, project, RoundPlan())
    assert state_of(round_) == RoundState.SFT
    assert end_job(work, round_) == "sft"
    assert state_of(round_) == RoundState.GENERATING
    assert project.sft_checkpoint_id == round_.policy_before_id is not None
    rounds.cancel(work, round_, reason="enough", actor_id=None)
    assert launch(work, project, RoundPlan()).state == RoundState.GENERATING


def test_a_failed_job_fails_the_round_and_its_retry_revives_it(
    work: Session, project: Project
) -> None:
    round_ = launch(work, project)
    end_job(work, round_, fails=True)
    assert state_of(round_) == RoundState.FAILED
    assert round_.reason.endswith("ValueError: no")
    with pytest.raises(Conflict, match="round 1 is failed; end it"):
        launch(work, project)
    rounds.retry(work, round_, actor_id=None)
    assert (state_of(round_), round_.reason) == (RoundState.GENERATING, "")
    end_job(work, round_)
    assert state_of(round_) == RoundState.LABELING
    with pytest.raises(Conflict, match="only a failed one"):
        rounds.retry(work, round_, actor_id=None)


def test_a_job_retried_elsewhere_revives_the_round_too(work: Session, project: Project) -> None:
    round_ = launch(work, project)
    end_job(work, round_, fails=True)
    (job,) = round_progress.jobs_of(work, round_.id)
    jobs.retry(work, job.id, actor_id=None)
    assert state_of(round_) == RoundState.FAILED
    end_job(work, round_)
    assert state_of(round_) == RoundState.LABELING


def test_cancelling_empties_the_queue(work: Session, project: Project) -> None:
    round_ = launch(work, project)
    rounds.cancel(work, round_, reason="changed our mind", actor_id=None)
    assert {job.state for job in round_progress.jobs_of(work, round_.id)} == {JobState.CANCELLED}
    rounds.advance(work, round_.id)
    assert state_of(round_) == RoundState.CANCELLED
    with pytest.raises(Conflict):
        rounds.decide(work, round_, promote=True, reason="", actor_id=None)


def test_labeling_can_be_ended_early(work: Session, project: Project) -> None:
    round_ = launch(work, project)
    with pytest.raises(Conflict, match="nothing is being labeled"):
        rounds.finish_labeling(work, round_, actor_id=None)
    end_job(work, round_)
    rounds.finish_labeling(work, round_, actor_id=None)
    assert state_of(round_) == RoundState.REWARD


def test_progress_counts_judgments(work: Session, project: Project) -> None:
    round_ = launch(work, project)
    end_job(work, round_)
    before = round_progress.labeling_of(work, round_.id, Purpose.TRAIN)
    assert (before.comparisons, before.wanted, before.done) == (1, 1, 0)
    assert not before.is_complete
    judge(work, round_)
    assert round_progress.labeling_of(work, round_.id, Purpose.TRAIN).is_complete
    found = round_progress.overview(work, round_)
    assert [job.kind for job in found.jobs] == ["generate", "reward"]
    assert found.evaluation is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"base_model": None}, "choose a base model"),
        ({"base_model": "starter"}, "starter model is untrained"),
        ({"judgment_kind": JudgmentKind.WRITE, "k": 0}, "responses of their own"),
        ({"k": 1}, "comparisons of 2 or more"),
    ],
)
def test_a_plan_that_cannot_be_carried_out_is_refused(
    work: Session, project: Project, change: dict[str, object], words: str
) -> None:
    for name, value in change.items():
        setattr(project, name, value)
    with pytest.raises(Invalid, match=words):
        launch(work, project)
    assert round_progress.current(work, project.id) is None


def test_a_project_without_test_prompts_cannot_be_evaluated(
    work: Session, project: Project
) -> None:
    for prompt in work.scalars(select(Prompt)):
        prompt.split = Split.TRAIN
    work.flush()
    with pytest.raises(Invalid, match="no prompt in the test split"):
        launch(work, project)


def test_an_unknown_round_is_not_found(work: Session, project: Project) -> None:
    with pytest.raises(NotFound):
        round_progress.get(work, project.id, 9)
    with pytest.raises(NotFound):
        rounds.advance(work, 99)


def test_many_advances_at_once_enqueue_one_job(any_database: Database) -> None:
    with any_database.transaction() as session:
        project = make_project(session)
        round_ = launch(session, project)
        end_job(session, round_)
        for row in session.scalars(select(Comparison).where(Comparison.round_id == round_.id)):
            row.done_slots, row.open_slots, row.is_open = row.overlap, 0, False
    _at_once(8, lambda: _advance(any_database, round_.id))
    with any_database.reader() as session:
        assert session.get_one(Round, round_.id).state == RoundState.REWARD
        kinds = session.scalars(select(Job.kind).where(Job.round_id == round_.id)).all()
        assert sorted(kinds) == ["generate", "reward"]


def test_two_launches_at_once_make_one_round(any_database: Database) -> None:
    with any_database.transaction() as session:
        project = make_project(session)
    refused: list[Exception] = []

    def start() -> None:
        try:
            with any_database.transaction() as session:
                launch(session, session.get_one(Project, project.id))
        except Conflict as error:
            refused.append(error)

    _at_once(4, start)
    assert len(refused) == 3
    with any_database.reader() as session:
        assert session.scalar(select(func.count(Round.id))) == 1


def test_the_sweep_moves_on_what_nobody_moved(work: Session, project: Project) -> None:
    round_ = launch(work, project)
    end_job(work, round_)
    for row in work.scalars(select(Comparison).where(Comparison.round_id == round_.id)):
        row.done_slots, row.open_slots, row.is_open = row.overlap, 0, False
    work.flush()
    assert state_of(round_) == RoundState.LABELING
    rounds.sweep(work)
    assert state_of(round_) == RoundState.REWARD


def test_a_job_makes_one_checkpoint_of_a_kind(work: Session, project: Project) -> None:
    round_ = launch(work, project)
    (job,) = round_progress.jobs_of(work, round_.id)
    for _ in range(2):
        write(work, round_, "reward", job.id, compare=False)
    assert work.scalar(select(func.count()).where(Checkpoint.kind == CheckpointKind.REWARD)) == 1


def _advance(database: Database, round_id: int) -> None:
    with database.transaction() as session:
        rounds.advance(session, round_id)


def _at_once(threads: int, act: Callable[[], None]) -> None:
    barrier = threading.Barrier(threads)

    def run() -> None:
        barrier.wait()
        act()

    started = [threading.Thread(target=run) for _ in range(threads)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()


def test_a_cancelled_round_asks_nobody_for_more(work: Session, project: Project) -> None:
    round_ = launch(work, project)
    end_job(work, round_)
    rounds.cancel(work, round_, reason="wrong prompts", actor_id=None)
    (labeler,) = sample.make_labelers(work, project, 1)
    assert slot_leases.claim(work, sample.SECRET, project, labeler) is None


def test_a_round_takes_the_projects_labeler_weights_into_its_plan(
    work: Session, project: Project
) -> None:
    sample.make_labelers(work, project, 1)
    name = work.scalars(select(Membership.pseudonym)).first() or ""
    weights_in_use.use(work, project, [LabelerWeight(name, 0.5)], actor_id=None)
    reward = launch(work, project).plan["reward"]
    assert reward["labelers"] == [{"labeler": name, "weight": 0.5}]
    assert reward["labelers_from"] == "project"


def test_a_plan_that_weighs_somebody_else_is_refused_at_launch(
    work: Session, project: Project
) -> None:
    plan = replace(PLAN, reward=RewardPlan(labelers=(LabelerWeight("L7", 0.5),)))
    with pytest.raises(Invalid, match="has no labeler 'L7'"):
        launch(work, project, plan)
