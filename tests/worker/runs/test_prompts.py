"""Which prompts a job takes: those that were there when it was made, and leave room."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db import Database
from app.domain.plan import Algorithm
from app.errors import Invalid
from app.models import Checkpoint, CheckpointKind, Job, Metric, Project, Prompt, Split
from tests.worker.runs import small
from worker.runs import evaluate, find, generate, policy, reward
from worker.runs.process.job_context import JobContext

LONG = "word " * 400
READ: Mapping[str, Callable[[Session, JobContext], Any]] = {
    "generate": generate.read,
    "reward": reward._read,
    "policy": policy._read,
    "evaluate": evaluate._read,
}


def lengthen(database: Database, split: Split, most: int) -> None:
    """Make prompts too long for any answer, as if they had been imported so."""
    with database.transaction() as session:
        query = select(Prompt).where(Prompt.split == split).order_by(Prompt.content_hash)
        for prompt in session.scalars(query.limit(most)).all():
            prompt.messages = [{"role": "user", "content": LONG}]


def run_waiting(database: Database, folder: Path, kind: CheckpointKind) -> Mapping[str, Any]:
    """Run the job that waits; return the metrics of what it published."""
    context = small.claimed(database, folder)
    find(context.kind)(context)
    with database.reader() as session:
        query = select(Checkpoint).where(Checkpoint.kind == kind)
        return session.scalars(query).one().metrics


def steps_of(database: Database, kind: str) -> int:
    with database.reader() as session:
        query = select(func.count()).select_from(Metric).join(Job, Job.id == Metric.job_id)
        return session.scalar(query.where(Job.kind == kind)) or 0


@pytest.mark.parametrize("kind", list(READ))
def test_prompts_that_came_after_the_job_was_made_are_not_its(
    database: Database, tmp_path: Path, kind: str
) -> None:
    project_id = small.up_to(database, tmp_path, kind)
    context = small.claimed(database, tmp_path)
    with database.transaction() as session:
        before = [one.id for one in READ[kind](session, context).prompts]
        later = session.get_one(Job, context.job_id).created_at + timedelta(seconds=1)
        project = session.get_one(Project, project_id)
        for split in (Split.TRAIN, Split.VALIDATION, Split.TEST):
            for number in range(30):
                text = f"Imported between two attempts: {split} {number}?"
                small.add_prompt(session, project, text, split).created_at = later
        session.flush()
        after = [one.id for one in READ[kind](session, context).prompts]
    assert before == after
    assert before


def test_prompts_without_room_are_counted(database: Database, tmp_path: Path) -> None:
    small.up_to(database, tmp_path, "policy")
    lengthen(database, Split.TRAIN, 2)
    lengthen(database, Split.VALIDATION, 1)
    found = run_waiting(database, tmp_path, CheckpointKind.POLICY)
    assert found["prompts_without_room"] == 2
    assert found["heldout_prompts_without_room"] == 1
    assert "heldout_reason" not in found


def test_where_no_held_out_prompt_leaves_room_the_run_says_so(
    database: Database, tmp_path: Path
) -> None:
    small.up_to(database, tmp_path, "policy")
    lengthen(database, Split.VALIDATION, 10)
    found = run_waiting(database, tmp_path, CheckpointKind.POLICY)
    assert found["heldout_prompts_without_room"] == small.PLAN.policy.heldout_prompts
    assert found["heldout_reason"].startswith("none of the 3 held-out prompts leaves room for 8")


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("policy", "^none of the 8 training prompts leaves room for 8 new tokens: the model's"),
        ("reward", "normalized: none of the 4 normalization prompts leaves room for 8"),
    ],
)
def test_a_run_without_any_room_is_refused_before_it_trains(
    database: Database, tmp_path: Path, kind: str, words: str
) -> None:
    small.up_to(database, tmp_path, kind)
    lengthen(database, Split.TRAIN, 20)
    context = small.claimed(database, tmp_path)
    with pytest.raises(Invalid, match=words):
        find(context.kind)(context)
    context.flush()
    assert steps_of(database, kind) == 0


def test_the_scale_counts_the_prompts_it_left_out(database: Database, tmp_path: Path) -> None:
    small.up_to(database, tmp_path, "reward")
    lengthen(database, Split.TRAIN, 1)
    found = run_waiting(database, tmp_path, CheckpointKind.REWARD)
    assert found["prompts_without_room"] == 1


def test_dpo_needs_no_prompt_to_train_on(database: Database, tmp_path: Path) -> None:
    plan = small.plan(policy=replace(small.PLAN.policy, algorithm=Algorithm.DPO, epochs=1))
    small.up_to(database, tmp_path, "policy", plan)
    lengthen(database, Split.TRAIN, 20)
    # What was judged is in the export as it was.
    found = run_waiting(database, tmp_path, CheckpointKind.POLICY)
    assert found["prompts_without_room"] == 8
