"""The only Celery task. A wake-up carries no work: the jobs are in the database."""

from app import queue as broker
from worker.main import celery, drain


@celery.task(name=broker.TASK)  # type: ignore[untyped-decorator]
def work(queue: str) -> None:
    """Claim and run jobs of this queue until there are none."""
    drain(queue)
