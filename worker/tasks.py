"""Celery's one task. A wake means *look*: what there is to do is in the table."""

from app import queue as broker
from worker.main import celery, drain


@celery.task(name=broker.TASK)  # type: ignore[untyped-decorator]
def work(queue: str) -> None:
    """Claim and run jobs of this queue until there is none."""
    drain(queue)
