"""Fresh comparisons: asked once, judged in the queue, and no part of anything that is learned."""

from dataclasses import replace

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.domain.judgment_kinds import JudgmentKind, RankBody
from app.domain.plan import PolicyPlan, RoundPlan
from app.domain.states import AssignmentState, RoundState
from app.errors import Invalid
from app.models import (
    Assignment,
    Comparison,
    ComparisonCompletion,
    FreshComparison,
    Judgment,
    Membership,
    Project,
    Prompt,
    Purpose,
    Round,
    Split,
)
from app.services.datasets import comparison_requests, implied_rankings
from app.services.datasets.judged_comparisons import ExportOptions
from app.services.judging import queue_progress
from app.services.queue import slot_leases
from app.services.rounds import (
    evaluations,
    fresh_votes,
    judging_flow,
    launch_plans,
    prompt_selection,
    readiness,
    round_progress,
)
from app.services.rounds.fresh_votes import FreshOrigin, FreshQuestion, FreshResponse
from tests.services import sample
from tests.services.rounds import stages

PLAN = RoundPlan(sft=None)


@pytest.fixture
def project(session: Session) -> Project:
    return stages.make_project(session, evaluation_rate=1.0)


@pytest.fixture
def training(session: Session, project: Project) -> Round:
    """Return a round whose policy trains."""
    round_ = stages.launch(session, project, PLAN)
    stages.end_job(session, round_)
    _judge_all(session, project)
    stages.end_job(session, round_)
    assert round_.state == RoundState.POLICY
    return round_


def _judge_all(session: Session, project: Project) -> int:
    count = 0
    while (assignment := _claim(session, project)) is not None:
        kind = session.get_one(Comparison, assignment.comparison_id).kind
        body = RankBody((1, 2)) if kind == JudgmentKind.RANK else None
        submission = sample.submission(assignment, body)
        judging_flow.submit(session, project, assignment.labeler_id, submission)
        count += 1
    return count


def _claim(session: Session, project: Project) -> Assignment | None:
    labeler = session.scalars(
        select(Membership.user_id).where(Membership.project_id == project.id)
    ).first()
    assert labeler is not None
    return slot_leases.claim(session, b"0" * 32, project, labeler)


def ask(session: Session, round_: Round, step: int = 5, count: int = 2) -> list[Comparison]:
    """Ask about new held-out prompts, and return the comparisons of the job."""
    job_id = round_progress.jobs_of(session, round_.id)[-1].id
    project = session.get_one(Project, round_.project_id)
    ids = [sample.make_completions(session, project, 1)[0] for _ in range(count)]
    questions = [
        FreshQuestion(one, (), FreshResponse("new", (1,), True, -1.0), _reference()) for one in ids
    ]
    origin = FreshOrigin(job_id, step, "SFT 1", {}, 1)
    for _ in range(2):  # the second time as by a job that was killed
        assert fresh_votes.ask(session, round_, origin, questions) == count
    query = select(Comparison).where(Comparison.purpose == Purpose.FRESH)
    return list(session.scalars(query.order_by(Comparison.id)))


def _reference() -> FreshResponse:
    return FreshResponse("old", (2,), True, -2.0)


@pytest.mark.parametrize("kind", [JudgmentKind.PICK, JudgmentKind.RANK])
def test_pairs_are_asked_once_judged_first_and_counted_by_step(
    session: Session, project: Project, training: Round, kind: JudgmentKind
) -> None:
    project.judgment_kind = kind
    asked = ask(session, training)
    assert [comparison.kind for comparison in asked] == [kind, kind]
    assert queue_progress.state(session, project, _labeler(session, project)).open == 2
    first = _claim(session, project)
    assert first is not None
    assert first.comparison_id == asked[0].id
    assert _judge_all(session, project) == 2
    job_id = round_progress.jobs_of(session, training.id)[-1].id
    votes = fresh_votes.votes(session, job_id)
    expected = [_share_of_policy(session, one.id) for one in asked]
    assert [(vote.step, vote.prompt_id) for vote in votes] == [(5, one.prompt_id) for one in asked]
    assert [vote.vote for vote in votes] == expected
    assert fresh_votes.votes(session, job_id + 1) == []
    assert training.state == RoundState.POLICY, "the job decides when the training is over"


def _labeler(session: Session, project: Project) -> int:
    query = select(Membership.user_id).where(Membership.project_id == project.id)
    return session.scalars(query).first() or 0


def _share_of_policy(session: Session, comparison_id: int) -> float:
    judgment = session.scalars(
        select(Judgment).where(Judgment.comparison_id == comparison_id)
    ).one()
    policy_id = session.get_one(FreshComparison, comparison_id).policy_completion_id
    position = session.scalars(
        select(ComparisonCompletion.position).where(
            ComparisonCompletion.comparison_id == comparison_id,
            ComparisonCompletion.completion_id == policy_id,
        )
    ).one()
    ranking = implied_rankings.ranking_of(judgment)
    assert ranking is not None
    assert len(ranking.first) == 1, "no tie"
    return float(position in ranking.first)


def test_what_is_unanswered_after_the_training_is_withdrawn_and_still_accepted(
    session: Session, project: Project, training: Round
) -> None:
    asked = ask(session, training)
    held = _claim(session, project)
    assert held is not None
    stages.end_job(session, training)
    assert training.state == RoundState.EVALUATING
    for comparison in asked:
        session.refresh(comparison)
    assert all(comparison.is_withdrawn for comparison in asked)
    judging_flow.submit(session, project, held.labeler_id, sample.submission(held))
    session.refresh(held)
    assert held.state == AssignmentState.SURPLUS
    assert fresh_votes.votes(session, round_progress.jobs_of(session, training.id)[-1].id) == []


def test_a_training_that_failed_may_resume_so_its_comparisons_wait(
    session: Session, project: Project, training: Round
) -> None:
    ask(session, training)
    stages.end_job(session, training, fails=True)
    assert training.state == RoundState.FAILED
    assert _claim(session, project) is not None


def test_the_judgments_of_a_plan_include_its_fresh_votes(
    session: Session, project: Project
) -> None:
    for _ in range(19):
        prompt_id, _ = sample.make_completions(session, project, 1)
        session.get_one(Prompt, prompt_id).split = Split.VALIDATION
    own = PolicyPlan(max_steps=12, evaluate_every=5)  # after steps 5 and 10, not at the end
    wanted = [
        readiness.preview(
            session,
            project,
            replace(PLAN, policy=replace(own, fresh_votes=count)),
            launch_plans.data_of(session, project),
        )
        for count in (0, 8, 500)
    ]
    assert [each.judgments - wanted[0].judgments for each in wanted] == [0, 16, 40]


def test_fresh_comparisons_are_no_part_of_anything_else(
    session: Session, project: Project, training: Round
) -> None:
    asked = ask(session, training)
    _judge_all(session, project)
    with pytest.raises(Invalid, match="fresh comparisons are never exported"):
        ExportOptions(purposes=(Purpose.TRAIN, Purpose.FRESH))
    ids = [comparison.prompt_id for comparison in asked]
    theirs = prompt_selection.imported(session, ids, most=9)
    assert {row.text for rows in theirs.values() for row in rows}.isdisjoint({"new", "old"})
    before = session.scalars(select(Comparison.id)).all()
    project.judgment_kind, project.k = JudgmentKind.THUMBS, 1  # of which nothing was asked yet
    comparison_requests.ask(session, project, most=100, actor_id=None)
    members = session.scalars(
        select(ComparisonCompletion.completion_id).where(
            ComparisonCompletion.comparison_id.not_in(before)
        )
    ).all()
    mine = session.scalars(
        select(ComparisonCompletion.completion_id).where(
            ComparisonCompletion.comparison_id.in_([comparison.id for comparison in asked])
        )
    ).all()
    assert members
    assert set(members).isdisjoint(mine)
    assert evaluations.of_round(session, training.id) is None
