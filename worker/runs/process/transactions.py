"""Short transactions during a run, under its lease.

The rows that a run writes before it succeeds (completions, comparisons, a frozen export) have
natural keys, so a run that is repeated finds them and adds nothing.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from sqlalchemy.orm import Session

from app.domain.instruction_text import InstructionText
from app.domain.plan import RoundPlan
from app.models import Job, Project, Round
from app.services.jobs import job_leases
from app.services.project import instructions
from worker.runs.process.job_context import JobContext


@contextmanager
def transaction(context: JobContext) -> Iterator[Session]:
    """Open a write transaction guarded by the job's lease.

    Raises:
        LeaseLost: the lease was lost; nothing is written.
    """
    with context.database.transaction() as session:
        job_leases.hold(session, context.job_id, context.lease_token)
        yield session


def round_of(session: Session, context: JobContext) -> tuple[Round, Project, RoundPlan]:
    """Return the round that the payload names, with its project and plan."""
    round_ = session.get_one(Round, context.payload["round_id"])
    project = session.get_one(Project, round_.project_id)
    return round_, project, RoundPlan.from_json(round_.plan)


def instruction_of(session: Session, context: JobContext, project: Project) -> InstructionText:
    """Return the instruction that was current when the job was created.

    An attempt that resumes continues under the same one, regardless of later edits.
    """
    return instructions.as_of(session, project, made_at(session, context))


def made_at(session: Session, context: JobContext) -> datetime:
    """Return when the job was created; attempts that resume ignore what was added later."""
    return session.get_one(Job, context.job_id).created_at
