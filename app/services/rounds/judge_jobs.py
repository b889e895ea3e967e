"""Jobs of AI judges: trials, comparison with people, labeling alone, and deciding evaluations.

Which comparisons a job asks about is fixed when it is enqueued, so an attempt that resumes goes on
with the same ones. Where a judge decides in the place of people, they are asked no more.
"""

import hashlib
import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, exists, select
from sqlalchemy.orm import Session

from app.db import bulk
from app.domain.judged_by import JudgedBy
from app.domain.judges.setup import JUDGED_KINDS, check_kind
from app.domain.judgment_kinds import JudgmentKind, of_blind_pairs
from app.domain.plan import RoundPlan
from app.domain.states import RoundState
from app.errors import Conflict, Invalid, NotFound
from app.models import (
    AiJudgment,
    AiOutcome,
    Comparison,
    Evaluation,
    Job,
    Judge,
    Judgment,
    Project,
    Purpose,
    Round,
)
from app.services.jobs import jobs
from app.services.judging import ai_judgments, judges
from app.services.people import audit
from app.services.quality import judge_quality
from app.services.queue import comparisons, counted_judgments
from app.services.rounds import gates
from app.services.rounds.evaluations import DECIDED_BY, RUNNING, deciding_judge

KIND = ai_judgments.JOB_KIND
MOST = 20_000
"""The most comparisons to ask for at once; a round or an evaluation is judged whole."""


class JudgeTask(StrEnum):
    """What a job asks a judge for."""

    TRY = "try"  # one comparison; the verdict is shown and not stored
    COMPARE = "compare"  # comparisons that people have judged
    LABEL = "label"  # comparisons that wait for judgments
    EVALUATE = "evaluate"  # those of an evaluation, beside people's judgments
    DECIDE = "decide"  # those of an evaluation, in the place of people


@dataclass(frozen=True, slots=True)
class JudgeRequest:
    """A task, and the comparisons that it is about."""

    task: JudgeTask
    comparison_ids: Sequence[int]
    round_id: int | None = None
    evaluation_id: int | None = None
    natural_key: str | None = None

    @property
    def payload(self) -> dict[str, Any]:
        """The request as a job stores it, without the judge."""
        return {
            "task": self.task,
            "comparison_ids": list(self.comparison_ids),
            "evaluation_id": self.evaluation_id,
        }


def try_one(session: Session, judge: Judge, comparison_id: int, *, actor_id: int | None) -> Job:
    """Ask a judge about one comparison, to see its prompt, replies and cost.

    Raises:
        NotFound: the project has no such comparison.
        Invalid: it is of a kind that AI judges do not judge.
    """
    comparison = session.get(Comparison, comparison_id)
    if comparison is None or comparison.project_id != judge.project_id:
        raise NotFound(f"there is no comparison {comparison_id} in this project")
    check_kind(comparison.kind)
    return _enqueue(session, judge, JudgeRequest(JudgeTask.TRY, [comparison_id]), actor_id)


def compare(session: Session, judge: Judge, count: int, *, actor_id: int | None) -> Job:
    """Ask a judge about comparisons that people have judged, drawn at random.

    Raises:
        Invalid: the count is out of range, or there is none left that both could judge.
    """
    _check_count(count)
    judged = exists().where(Judgment.comparison_id == Comparison.id, counted_judgments.fills_slot())
    ids = _candidates(
        session,
        judge,
        Comparison.project_id == judge.project_id,
        Comparison.purpose.in_(judge_quality.COMPARED_PURPOSES),
        judged,
    )
    if not ids:
        raise Invalid(
            f"people have judged no comparison that {judge.pseudonym} could judge and has not"
        )
    drawn = heapq.nsmallest(
        count, ids, key=lambda id: hashlib.sha256(f"{judge.id}\0{id}".encode()).digest()
    )
    request = JudgeRequest(JudgeTask.COMPARE, sorted(drawn))
    return _enqueue(session, judge, request, actor_id)


def label(session: Session, judge: Judge, count: int, *, actor_id: int | None) -> Job:
    """Ask a judge about comparisons that wait for judgments; people are still asked about them.

    Raises:
        Conflict: the judge may not label alone yet.
        Invalid: the count is out of range, or nothing waits.
    """
    _check_count(count)
    judge_quality.check_alone(session, judge)
    ids = _candidates(
        session,
        judge,
        Comparison.project_id == judge.project_id,
        Comparison.purpose == Purpose.TRAIN,
        comparisons.is_unfinished(),
        most=count,
    )
    if not ids:
        raise Invalid(f"no comparison waits for a judgment that {judge.pseudonym} could make")
    for kind in _kinds(session, ids):
        judge_quality.check_alone(session, judge, kind)
    request = JudgeRequest(JudgeTask.LABEL, ids)
    return _enqueue(session, judge, request, actor_id)


def evaluate(
    session: Session, judge: Judge, evaluation: Evaluation, *, actor_id: int | None
) -> Job:
    """Ask a judge about an evaluation's comparisons, beside people.

    Raises:
        Invalid: there is none that it has not judged.
    """
    ids = _of_evaluation(session, judge, evaluation)
    if not ids:
        raise Invalid(
            f"evaluation {evaluation.id} has no comparison that {judge.pseudonym} has not judged"
        )
    request = JudgeRequest(JudgeTask.EVALUATE, ids, evaluation_id=evaluation.id)
    return _enqueue(session, judge, request, actor_id)


def decide(session: Session, judge: Judge, evaluation: Evaluation, *, actor_id: int | None) -> Job:
    """Let a judge decide a running evaluation in the place of people, who are asked no more.

    What it has judged beside people before counts; it is asked about the rest.

    Raises:
        Conflict: the evaluation is over, or the judge may not decide alone yet.
        Invalid: there is nothing to judge.
    """
    if evaluation.state != RUNNING:
        raise Conflict(f"evaluation {evaluation.id} is {evaluation.state}; it is decided already")
    _check_active(judge)
    project = session.get_one(Project, evaluation.project_id)
    kind = of_blind_pairs(JudgmentKind(project.judgment_kind))
    judge_quality.check_alone(session, judge, kind)
    ids = _of_evaluation(session, judge, evaluation)
    if not ids and not _has_judged(session, judge, evaluation):
        raise Invalid(f"evaluation {evaluation.id} has no comparison to judge")
    return _decide(session, judge, evaluation, ids, actor_id)


def _decide(
    session: Session, judge: Judge, evaluation: Evaluation, ids: Sequence[int], actor_id: int | None
) -> Job:
    evaluation.results = {**evaluation.results, DECIDED_BY: judge.id}
    _close(session, Comparison.evaluation_id == evaluation.id)
    audit.record(
        session,
        "evaluation.decided_by_judge",
        f"evaluation {evaluation.id}",
        actor_id=actor_id,
        project_id=judge.project_id,
        details={"judge": judge.pseudonym, "comparisons": len(ids)},
    )
    request = JudgeRequest(
        JudgeTask.DECIDE,
        ids,
        evaluation.round_id,
        evaluation.id,
        evaluation_key(session, evaluation),
    )
    return _enqueue(session, judge, request, actor_id, is_chosen=False)


def label_round(session: Session, round_: Round) -> Job | None:
    """Let the judge that a round's plan names label its comparisons; None if it names none.

    If the reward model learns from AI judgments alone, people are asked no more. The natural key of
    the job makes this happen once.
    """
    plan = RoundPlan.from_json(round_.plan)
    if not plan.judge:
        return None
    natural_key = round_key(session, round_)
    known = jobs.by_natural_key(session, natural_key)
    if known is not None:
        return known
    judge = judges.named(session, round_.project_id, plan.judge)
    own = (Comparison.round_id == round_.id, Comparison.purpose == Purpose.TRAIN)
    ids = _candidates(session, judge, *own)
    if plan.reward.judged_by is JudgedBy.AI:
        _close(session, *own)
    request = JudgeRequest(JudgeTask.LABEL, ids, round_.id, None, natural_key)
    return _enqueue(session, judge, request, round_.created_by_id, is_chosen=False)


def decide_round(session: Session, round_: Round, evaluation: Evaluation) -> Job | None:
    """Let the judge that a round's plan names decide its evaluation.

    Returns None if it names none, or if there is nothing to judge because all responses are alike.
    """
    known = jobs.by_natural_key(session, evaluation_key(session, evaluation))
    name = RoundPlan.from_json(round_.plan).evaluation.judge
    if known is not None:
        return known
    judge = deciding_judge(session, evaluation)
    if judge is None and not name:
        return None
    judge = judge or judges.named(session, round_.project_id, name)
    ids = _of_evaluation(session, judge, evaluation)
    if not ids and not _has_judged(session, judge, evaluation):
        return None
    return _decide(session, judge, evaluation, ids, round_.created_by_id)


def check_plan(session: Session, project: Project, plan: RoundPlan) -> None:
    """Check that a plan's judges exist, may judge alone, and are of use.

    Raises:
        Invalid: one of them is not, with the reason.
    """
    own = JudgmentKind(project.judgment_kind)
    for name, what, kind in (
        (plan.judge, "label the round", own),
        (plan.evaluation.judge, "evaluate", of_blind_pairs(own)),
    ):
        if not name:
            continue
        judge = judges.named(session, project.id, name)
        if judge.archived_at is not None:
            raise Invalid(f"AI judge {judge.pseudonym} is archived and cannot {what}")
        if reason := judge_quality.why_not_alone(session, judge, kind):
            raise Invalid(reason)
    if plan.judge:
        check_kind(project.judgment_kind)
        if not plan.reward.judged_by.has_judges:
            raise Invalid(
                f"AI judge {plan.judge} would label the round, but the reward model learns from "
                "people's judgments only: let it learn from AI judgments or from both"
            )


def round_key(session: Session, round_: Round) -> str:
    """Return the natural key of the job that labels a round, as far as it has been redone."""
    redone = gates.times_redone(session, round_.id, RoundState.LABELING)
    return f"round-{round_.id}-judge" + (f"-{redone + 1}" if redone else "")


def evaluation_key(session: Session, evaluation: Evaluation) -> str:
    """Return the natural key of the job that decides an evaluation, as far as it was redone."""
    redone = 0
    if evaluation.round_id is not None:
        redone = gates.times_redone(session, evaluation.round_id, RoundState.EVALUATING)
    return f"evaluation-{evaluation.id}-judge" + (f"-{redone + 1}" if redone else "")


def of_judge(session: Session, judge: Judge, *, limit: int = 10) -> list[Job]:
    """Return a judge's newest jobs."""
    query = (
        select(Job)
        .where(
            Job.project_id == judge.project_id,
            Job.kind == KIND,
            Job.payload["judge_id"].as_integer() == judge.id,
        )
        .order_by(Job.id.desc())
        .limit(limit)
    )
    return list(session.scalars(query))


def _of_evaluation(session: Session, judge: Judge, evaluation: Evaluation) -> list[int]:
    return _candidates(session, judge, Comparison.evaluation_id == evaluation.id)


def _has_judged(session: Session, judge: Judge, evaluation: Evaluation) -> bool:
    query = (
        select(AiJudgment.id)
        .join(Comparison, Comparison.id == AiJudgment.comparison_id)
        .where(
            Comparison.evaluation_id == evaluation.id,
            AiJudgment.judge_id == judge.id,
            AiJudgment.outcome == AiOutcome.JUDGED,
        )
    )
    return session.scalar(query.limit(1)) is not None


def _candidates(
    session: Session, judge: Judge, *conditions: ColumnElement[bool], most: int | None = None
) -> list[int]:
    """Return the comparisons that the judge could judge and has not; all of them by default."""
    done = exists().where(
        AiJudgment.comparison_id == Comparison.id,
        AiJudgment.judge_id == judge.id,
        AiJudgment.outcome == AiOutcome.JUDGED,
    )
    query = (
        select(Comparison.id)
        .where(*conditions, Comparison.kind.in_(JUDGED_KINDS), ~Comparison.is_withdrawn, ~done)
        .order_by(Comparison.id)
        .limit(most)
    )
    return list(session.scalars(query))


def _kinds(session: Session, comparison_ids: Sequence[int]) -> list[JudgmentKind]:
    chosen = bulk.among(session, Comparison.id, comparison_ids)
    query = select(Comparison.kind).where(chosen).distinct().order_by(Comparison.kind)
    return [JudgmentKind(kind) for kind in session.scalars(query)]


def _close(session: Session, *conditions: ColumnElement[bool]) -> None:
    """Ask people no more about comparisons; judgments in progress are still accepted."""
    query = select(Comparison.id).where(*conditions, Comparison.open_slots > 0)
    for comparison_id in session.scalars(query.order_by(Comparison.id)).all():
        comparisons.settle_for(session, comparison_id)
    session.flush()


def _check_active(judge: Judge) -> None:
    if judge.archived_at is not None:
        raise Conflict(f"AI judge {judge.pseudonym} is archived; restore it first")


def _check_count(count: int) -> None:
    if not 1 <= count <= MOST:
        raise Invalid(f"a judge can be asked about 1 to {MOST} comparisons at once, not {count}")


def _enqueue(
    session: Session,
    judge: Judge,
    request: JudgeRequest,
    actor_id: int | None,
    *,
    is_chosen: bool = True,
) -> Job:
    if is_chosen:
        _check_active(judge)
    job = jobs.enqueue(
        session,
        kind=KIND,
        queue="cpu",
        payload={"judge_id": judge.id, **request.payload},
        project_id=judge.project_id,
        round_id=request.round_id,
        natural_key=request.natural_key,
        created_by_id=actor_id,
    )
    audit.record(
        session,
        "judge.ask",
        f"AI judge {judge.pseudonym}",
        actor_id=actor_id,
        project_id=judge.project_id,
        details={"task": request.task, "comparisons": len(request.comparison_ids), "job": job.id},
    )
    return job
