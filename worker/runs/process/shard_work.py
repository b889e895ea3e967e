"""Takes the shards of a job's work, in the job itself and in the jobs that help it.

Both take the first shard that is free, do it and take the next, so that a model is loaded once for
many shards, and whoever is faster does more. A job that shares its work ends it: it waits for the
shards that helpers have, and does again those of helpers that were lost.
"""

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from app.domain import shard_sizes
from app.models import Job
from app.services.jobs import job_helpers, shards
from app.services.jobs.shards import HeldShard, Holder, Part, ShardProgress
from worker.orders import Interrupted
from worker.runs.process import transactions
from worker.runs.process.job_context import JobContext

Do = Callable[[HeldShard], Mapping[str, Any]]

WAIT_S: Final = 0.5  # between two looks at the shards that others have


def name_of(kind: str, what: Mapping[str, Any]) -> str:
    """Return the name of some work: the same for the same values, in every attempt."""
    text = json.dumps(what, sort_keys=True)
    return f"{kind}-{hashlib.sha256(text.encode()).hexdigest()[:32]}"


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many workers can share some work, and how many of its chunks a shard gets."""

    workers: int
    chunks: int


def sizes(context: JobContext, chunks: int, chunk_s: float, load_s: float) -> Sizes | None:
    """Return how to share the chunks that are left; None if that does not pay.

    `chunk_s` and `load_s` are measured: what a chunk takes, and what loading the model took.
    """
    if not shard_sizes.pays(chunks, chunk_s, load_s):
        return None
    with context.database.reader() as session:
        workers = 1 + job_helpers.others(session, context.job_id)
    if workers < 2:
        return None
    return Sizes(workers, shard_sizes.chunks_per_shard(chunks, chunk_s, workers))


def share(context: JobContext, work: str, parts: Sequence[Part], workers: int) -> None:
    """Cut some work into shards, and ask for a helper for every other worker."""
    with transactions.transaction(context) as session:
        shards.cut(session, context.job_id, work, parts)
        job_helpers.ask(session, context.job_id, work, min(workers - 1, len(parts)))


def resume(context: JobContext, work: str) -> None:
    """Ask for helpers again if an earlier attempt of this job left shards of some work."""
    progress = progress_of(context, work)
    if progress.is_over:
        return
    with transactions.transaction(context) as session:
        others = job_helpers.others(session, context.job_id)
        left = progress.shards - progress.ended
        job_helpers.ask(session, context.job_id, work, min(others, left - 1))


def complete(
    context: JobContext, work: str, do: Do, report: Callable[[ShardProgress], None]
) -> ShardProgress:
    """Do the shards of some work of this job until all have ended, and return their figures.

    Raises:
        Interrupted: the job was asked to stop.
    """
    progress = progress_of(context, work)
    while not progress.is_over:
        obey(context)
        held = take(context, context.job_id, work)
        if held is None:
            time.sleep(WAIT_S)
        else:
            finish(context, held, do(held))
        progress = progress_of(context, work)
        report(progress)
    return progress


def take(context: JobContext, job_id: int, work: str | None = None) -> HeldShard | None:
    """Take a free shard of a job under this job's lease."""
    with transactions.transaction(context) as session:
        worker = session.get_one(Job, context.job_id).worker
        holder = Holder(context.job_id, context.lease_token, worker)
        return shards.take(session, job_id, holder, work=work)


def finish(context: JobContext, held: HeldShard, result: Mapping[str, Any]) -> None:
    """End a shard that this job holds."""
    with transactions.transaction(context) as session:
        holder = Holder(context.job_id, context.lease_token)
        shards.finish(session, held.id, holder, dict(result))


def progress_of(context: JobContext, work: str) -> ShardProgress:
    """Return how far the shards of some work of this job are."""
    with context.database.reader() as session:
        return shards.progress(session, context.job_id, work)


def obey(context: JobContext) -> None:
    """Stop if people or the worker ask for it.

    Raises:
        Interrupted: the job was asked to stop.
    """
    if context.should_stop() in {"cancel", "preempt"}:
        raise Interrupted(f"job {context.job_id} was asked to stop")
