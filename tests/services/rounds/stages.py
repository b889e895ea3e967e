"""A round moved from stage to stage by jobs that are only said to have run."""

from collections.abc import Mapping
from itertools import count
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.domain.plan import RoundPlan
from app.domain.states import RoundState
from app.models import (
    CheckpointKind,
    Comparison,
    Completion,
    Membership,
    Project,
    Prompt,
    Purpose,
    Round,
    Split,
)
from app.services.checkpoints import checkpoints
from app.services.checkpoints.checkpoints import CheckpointFiles
from app.services.jobs import job_leases
from app.services.queue import comparisons
from app.services.rounds import evaluations, rounds
from tests.services import sample

PLAN = RoundPlan(sft=None)
KINDS = {
    "sft": CheckpointKind.SFT,
    "reward": CheckpointKind.REWARD,
    "policy": CheckpointKind.POLICY,
}
_numbers = count()


def make_project(session: Session, **columns: Any) -> Project:
    project = sample.make_project(session, base_model="some/base", overlap=1, **columns)
    sample.make_labelers(session, project, 1)
    session.query(Membership).filter_by(project_id=project.id).one().pseudonym = "first"
    for split in Split:
        prompt_id, _ = sample.make_completions(session, project, 2)
        session.get_one(Prompt, prompt_id).split = split
    session.flush()
    return project


def launch(session: Session, project: Project, plan: RoundPlan = PLAN) -> Round:
    return rounds.launch(session, project, plan, None)


def end_job(
    session: Session,
    round_: Round,
    *,
    compare: bool = True,
    fails: bool = False,
    error: str = "ValueError: no",
    result: Mapping[str, Any] | None = None,
) -> str:
    """Do what a run would: write rows, end the job, let the round go on.

    A job whose result says that it was held back writes nothing.
    """
    claimed = job_leases.claim(session, "w", ["gpu", "cpu"], lease_s=60)
    assert claimed is not None
    if fails:
        job_leases.fail(session, claimed.job_id, claimed.lease_token, f"Trace\n{error}")
    else:
        if not (result or {}).get("held_back"):
            write(session, round_, claimed.kind, claimed.job_id, compare=compare)
        job_leases.succeed(session, claimed.job_id, claimed.lease_token, result or {})
    rounds.advance(session, round_.id)
    return claimed.kind


def write(session: Session, round_: Round, kind: str, job_id: int, *, compare: bool) -> None:
    if kind in KINDS:
        made = checkpoints.create(
            session,
            project_id=round_.project_id,
            kind=KINDS[kind],
            written=CheckpointFiles(f"{kind}/{job_id}", "0" * 64, {}, {}),
            job_id=job_id,
            round_id=round_.id,
        )
        rounds.attach(session, round_.id, made)
    elif kind == "generate":
        _compare(session, round_, Purpose.TRAIN)
    else:
        assert round_.policy_checkpoint_id is not None
        assert round_.policy_before_id is not None
        found = evaluations.open_evaluation(
            session, round_, round_.policy_checkpoint_id, round_.policy_before_id
        )
        if compare:
            _compare(session, round_, Purpose.EVALUATION, found.id)


def _compare(
    session: Session, round_: Round, purpose: Purpose, evaluation_id: int | None = None
) -> None:
    project = session.get_one(Project, round_.project_id)
    prompt_id, completion_ids = sample.make_completions(session, project, 2)
    if evaluation_id is not None:
        new, old = (session.get_one(Completion, one) for one in completion_ids)
        new.checkpoint_id, old.checkpoint_id = round_.policy_checkpoint_id, round_.policy_before_id
    comparisons.create(
        session,
        project,
        prompt_id,
        completion_ids,
        natural_key=f"made-{next(_numbers)}",
        seed=0,
        purpose=purpose,
        round_id=round_.id,
        evaluation_id=evaluation_id,
    )


def judge(session: Session, round_: Round) -> None:
    """Say that every comparison of the round has been judged."""
    for row in session.scalars(select(Comparison).where(Comparison.round_id == round_.id)):
        row.done_slots, row.open_slots, row.is_open = row.overlap, 0, False
    session.flush()
    rounds.advance(session, round_.id)


def state_of(round_: Round) -> RoundState:
    """Return the state; a type checker thinks that an attribute stays what it was."""
    return RoundState(round_.state)
