"""A project with judged comparisons and an AI judge, for tests of judges."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from app.db import Database, now
from app.domain.judges.servers import AllowedServer
from app.domain.judges.setup import JudgeLimits, JudgeSetup
from app.domain.judgment_kinds import JudgmentBody, JudgmentKind, PickBody
from app.models import (
    Checkpoint,
    CheckpointKind,
    Comparison,
    Completion,
    Evaluation,
    Job,
    Judge,
    Project,
    Purpose,
)
from app.services.judging import judges, labeling
from app.services.queue import comparisons, slot_leases
from tests.judge_server import Taste
from tests.services import sample
from tests.worker.runs import small
from worker.orders import Orders
from worker.runs import judge as judge_run

SERVER = "http://127.0.0.1:9/v1"
PREFERS_FIRST = PickBody("a", 2)
LIMITS = JudgeLimits(price_in=1.0, price_out=10.0)


def make_judge(
    session: Session,
    project: Project,
    url: str,
    *,
    name: str = "Tiny",
    limits: JudgeLimits = LIMITS,
) -> Judge:
    return judges.create(
        session,
        project,
        JudgeSetup(name, url, "tiny"),
        limits,
        allowed=(AllowedServer(url),),
        actor_id=None,
    )


def make_comparisons(
    session: Session, project: Project, n: int, **options: Any
) -> list[Comparison]:
    return [sample.make_comparison(session, project, **options) for _ in range(n)]


def by_position(session: Session, made: Sequence[Comparison], utilities: Sequence[float]) -> Taste:
    """Return the taste of a judge for responses by canonical position."""
    known = {
        text: utility
        for comparison in made
        for text, utility in zip(sample.texts_of(session, comparison.id), utilities, strict=False)
    }
    return lambda _prompt, response: known[response]


def judge_by_people(
    session: Session,
    project: Project,
    labelers: list[int],
    most: int,
    body: JudgmentBody = PREFERS_FIRST,
) -> int:
    """Let labelers give the same judgment; by default they prefer what comes first canonically."""
    done = 0
    for labeler in labelers:
        while done < most:
            assignment = slot_leases.claim(
                session, small.SECRET, project, labeler, draw=sample.never_mix()
            )
            if assignment is None:
                break
            labeling.submit(session, project, labeler, sample.submission(assignment, body))
            done += 1
    return done


def make_evaluation(session: Session, project: Project, prompts: int) -> Evaluation:
    """Evaluate a new policy whose responses are longer than those of the old one."""
    new, old = (
        Checkpoint(
            project_id=project.id,
            kind=CheckpointKind.POLICY,
            name=name,
            uri=name,
            created_at=now(session),
        )
        for name in ("Policy 2", "Policy 1")
    )
    session.add_all([new, old])
    session.flush()
    evaluation = Evaluation(
        project_id=project.id,
        new_checkpoint_id=new.id,
        old_checkpoint_id=old.id,
        results={},
        created_at=now(session),
    )
    session.add(evaluation)
    session.flush()
    for number in range(prompts):
        prompt_id, ids = sample.make_completions(session, project, 2)
        for id, checkpoint in zip(ids, (new, old), strict=True):
            completion = session.get_one(Completion, id)
            completion.checkpoint_id = checkpoint.id
            completion.source_key = f"checkpoint-{checkpoint.id}"
            completion.text += " and more" if checkpoint is new else ""
        comparisons.create(
            session,
            project,
            prompt_id,
            ids,
            natural_key=f"evaluation-{evaluation.id}-{number}",
            seed=number,
            purpose=Purpose.EVALUATION,
            evaluation_id=evaluation.id,
            overlap=1,
            kind=JudgmentKind.PICK,
        )
    session.flush()
    return evaluation


def run(
    database: Database, folder: Path, *servers: AllowedServer, orders: Orders | None = None
) -> dict[str, Any]:
    """Run the job that waits; return its result."""
    context = small.claimed(database, folder, orders)
    context.judges = servers
    judge_run.run(context)
    with database.reader() as session:
        job = session.get_one(Job, context.job_id)
        assert job.state == "succeeded"
        return dict(job.result)
