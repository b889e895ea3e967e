"""Jobs that nobody waits for make room for others in their queue."""

from app.services.jobs import job_helpers
from worker.orders import Interrupted
from worker.runs.process.job_context import JobContext


def make_room(context: JobContext) -> None:
    """Return to the queue if a job of its own waits for this worker.

    Raises:
        Interrupted: one waits.
    """
    with context.database.reader() as session:
        is_wanted = job_helpers.is_wanted_elsewhere(session, context.job_id)
    if is_wanted:
        raise Interrupted(f"job {context.job_id} makes room for a job that waits")
