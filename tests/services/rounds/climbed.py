"""Rounds with everything that the climb shows, without training anything."""

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import now
from app.domain.plan import RoundPlan
from app.domain.states import RoundState
from app.models import (
    Checkpoint,
    CheckpointKind,
    Completion,
    Evaluation,
    Membership,
    Project,
    Purpose,
    Role,
    Round,
    User,
)
from app.services.queue import comparisons
from app.services.rounds import evaluations
from tests.services import sample, sample_votes

PEOPLE = {
    "accuracy_on_votes": {"value": 0.64, "low": 0.6, "high": 0.68, "n": 60},
    "human_level": {"value": 0.66, "low": 0.6, "high": 0.72, "n": 60},
    "ceiling": {"human": 0.66, "ceiling_low": 0.66, "ceiling_high": 0.78},
}


def checkpoint(
    session: Session, project: Project, kind: CheckpointKind, name: str, **columns: Any
) -> Checkpoint:
    row = Checkpoint(
        project_id=project.id, kind=kind, name=name, uri=name, created_at=now(session), **columns
    )
    session.add(row)
    session.flush()
    return row


def sft(session: Session, project: Project) -> Checkpoint:
    base = checkpoint(session, project, CheckpointKind.BASE, "starter")
    row = checkpoint(session, project, CheckpointKind.SFT, "SFT 1", parent_id=base.id)
    project.sft_checkpoint_id = row.id
    return row


def add_round(
    session: Session,
    project: Project,
    initial: Checkpoint,
    last: Checkpoint,
    *,
    verdicts: str,
    state: RoundState = RoundState.PROMOTED,
    has_reward: bool = True,
) -> Round:
    """Add a decided round; `verdicts` has the people's vote of each prompt: n(ew), o(ld) or t(ie).

    The reward model prefers the new policy to both others, except where people prefer the old.
    """
    number = session.query(Round).filter_by(project_id=project.id).count() + 1
    kl = {"heldout/kl": 1.5 * number}
    policy = checkpoint(
        session, project, CheckpointKind.POLICY, f"Policy {number}", parent_id=initial.id,
        metrics=kl,
    )  # fmt: skip
    reward = checkpoint(
        session, project, CheckpointKind.REWARD, f"Reward {number}", metrics={"people": PEOPLE}
    )
    row = Round(
        project_id=project.id,
        number=number,
        state=state,
        plan=RoundPlan().to_json(),
        policy_before_id=last.id,
        policy_checkpoint_id=policy.id,
        reward_checkpoint_id=reward.id if has_reward else None,
        created_at=now(session),
    )
    session.add(row)
    session.flush()
    _evaluate(session, project, row, (policy, last, initial), verdicts)
    return row


def _evaluate(
    session: Session,
    project: Project,
    round_: Round,
    models: tuple[Checkpoint, Checkpoint, Checkpoint],
    verdicts: str,
) -> Evaluation:
    policy, last, initial = models
    evaluation = evaluations.open_evaluation(session, round_, policy.id, last.id)
    labeler = _labeler(session, project)
    scores: dict[int, float] = {}
    of_initial: dict[str, float] = {}
    for at, verdict in enumerate(verdicts):
        prompt_id, ids = sample.make_completions(session, project, 3)
        for id, model in zip(ids, (policy, last, initial), strict=True):
            session.get_one(Completion, id).checkpoint_id = model.id
        comparison = comparisons.create(
            session,
            project,
            prompt_id,
            ids[:2],
            natural_key=f"climb-{evaluation.id}-{at}",
            seed=at,
            purpose=Purpose.EVALUATION,
            round_id=round_.id,
            evaluation_id=evaluation.id,
            overlap=1,
        )
        shown = [row.id for row in comparisons.completions_of(session, comparison.id)]
        place = shown.index(ids[0])
        said = {"n": "ab"[place], "o": "ba"[place], "t": "tie"}[verdict]
        sample_votes.vote(session, comparison, labeler, preferred=said)
        scores |= {ids[0]: 0.0 if verdict == "o" else 1.0, ids[1]: 0.5}
        of_initial[str(ids[2])] = -1.0
    apart = {"checkpoint_id": initial.id, "scores": of_initial, "length": 70.0}
    evaluations.record_scores(
        session,
        evaluation,
        arbiter=f"Reward {round_.number}",
        scores=scores,
        identical=[],
        lengths={"new": 90.0 + 5 * round_.number, "old": 80.0},
        notes={} if last.id == initial.id else {evaluations.INITIAL: apart},
    )
    evaluations.complete(session, evaluation)
    return evaluation


def _labeler(session: Session, project: Project) -> User:
    query = (
        select(User)
        .join(Membership)
        .where(Membership.project_id == project.id, Membership.role == Role.LABELER)
    )
    known = session.scalars(query).first()
    if known is None:
        (labeler_id,) = sample.make_labelers(session, project, 1)
        return session.get_one(User, labeler_id)
    return known


def three_rounds(session: Session, project: Project) -> list[Round]:
    """Add a promoted round, one that was held on thin evidence, one cancelled, and a last one."""
    initial = sft(session, project)
    first = add_round(session, project, initial, initial, verdicts="n" * 14 + "o" * 2)
    last = session.get_one(Checkpoint, first.policy_checkpoint_id)
    second = add_round(
        session, project, initial, last, verdicts="nnno", state=RoundState.HELD, has_reward=False
    )
    cancelled = add_round(session, project, initial, last, verdicts="n", state=RoundState.CANCELLED)
    fourth = add_round(session, project, initial, last, verdicts="n" * 15 + "o" * 5)
    return [first, second, cancelled, fourth]
