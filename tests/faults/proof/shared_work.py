"""Candidates that one, two and three workers sample: the same bytes, in a part of the time.

The workers are processes that PostgreSQL and Redis connect. One of three is killed in the middle
of a shard. Each chunk of prompts takes a second of waiting, whatever the processors do.
"""

import hashlib
import json
import os
import signal
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from sqlalchemy import func, select

from app.db import Database
from app.models import Completion, Job, Prompt, Shard, Split
from app.services.jobs import workers as job_workers
from app.services.rounds import rounds
from tests.faults import paced_runs, workers
from tests.faults.proof.rows import Outcome, Place, counted
from tests.faults.workers import Began
from tests.worker.runs import small

KIND = "generate"
PATIENCE_S = 900.0
MOST = 0.55
"""Of one worker's time for a prompt, that two may take once the second has started."""


@dataclass(frozen=True, slots=True)
class Sampled:
    """What some workers sampled, and how.

    Attributes:
        sha256: of all completions with their token ids, in order.
        prompt_s: of a prompt from the moment that a helper took its first shard, or from the first.
        start_s: from the first shard until a helper took one.
        by: the shards that each worker ended.
        repeated: shards that were taken again.
    """

    sha256: str
    prompt_s: float
    start_s: float
    by: tuple[int, ...]
    repeated: int


def measure(place: Place) -> Outcome:
    """Sample the same candidates with one, two and three workers, and kill one of the three."""
    prompts = place.scale.count(120, 600)
    one, two, three = (_sample(place, count, prompts, kill=count == 3) for count in (1, 2, 3))
    faults = []
    if len({one.sha256, two.sha256, three.sha256}) != 1:
        faults.append("the completions differ")
    if not three.repeated:
        faults.append("no shard of the killed worker was done again")
    share = two.prompt_s / one.prompt_s
    if share > MOST:
        faults.append(f"two workers take {share - MOST:.2f} of one worker's time too long")
    return Outcome(
        f"the same sha256 {one.sha256[:12]} with 1, 2 and 3 workers; two take {share:.2f} of one "
        f"worker's time, once the second has started ({two.start_s:.0f} s)",
        f"{counted(prompts, 'prompt')} at {paced_runs.CHUNK_S / paced_runs.CHUNK_PROMPTS:g} s; "
        f"shards by worker {two.by} and {three.by}, one of three killed, "
        f"{counted(three.repeated, 'shard')} done again",
        "; ".join(faults),
        {
            "prompts": prompts,
            "one_prompt_s": round(one.prompt_s, 3),
            "two_prompt_s": round(two.prompt_s, 3),
            "start_s": round(two.start_s, 1),
            "share": round(share, 3),
        },
    )


def _sample(place: Place, count: int, prompts: int, *, kill: bool) -> Sampled:
    folder = place.room(f"shared by {count}")
    with ExitStack() as stack:
        database = Database(stack.enter_context(place.postgres.database()))
        stack.callback(database.dispose)
        started = [
            stack.enter_context(_worker(database, folder, place.redis.url)) for _ in range(count)
        ]
        workers.until(lambda: _count_seen(database) == count, "the workers", PATIENCE_S)
        job_id = _launch(database, folder, prompts)
        if kill:
            workers.until_progress(database, job_id, 1, PATIENCE_S)
            _kill_a_helper(database, job_id, started)
        job = workers.until_over(database, job_id, PATIENCE_S)
        if job.state != "succeeded":
            raise AssertionError(f"the job of {count} workers is {job.state}: {job.error}")
        return _read(database, job_id)


def _worker(database: Database, folder: Path, broker_url: str) -> Began:
    return Began(
        database, folder, broker_url, slow_poll_s=1.0, usual=True, child="tests.faults.paced_runs"
    )


def _launch(database: Database, folder: Path, prompts: int) -> int:
    """Launch a round on a tiny model, and return the job that samples its candidates."""
    base = small.save_tiny_llama(folder / "base")
    plan = small.plan(sft=None, prompts=prompts, heldout_prompts=0)
    plan = replace(plan, preflight=replace(plan.preflight, is_on=False))
    with database.transaction() as session:
        project = small.make_project(session, base_model=str(base))
        for number in range(prompts):
            small.add_prompt(session, project, f"What is number {number}?", Split.TRAIN)
        rounds.launch(session, project, plan, None)

    def jobs() -> list[int]:
        with database.reader() as session:
            return list(session.scalars(select(Job.id).where(Job.kind == KIND)))

    workers.until(lambda: bool(jobs()), "the job that samples", PATIENCE_S)
    return jobs()[0]


def _kill_a_helper(database: Database, job_id: int, started: list[Began]) -> None:
    """Kill a worker while it has a shard of another worker's job."""

    def held() -> str | None:
        if workers.read(database, job_id).state != "running":
            raise AssertionError("the job ended before a helper had started: try a larger --scale")
        with database.reader() as session:
            return session.scalar(
                select(Shard.worker)
                .join(Job, Job.id == Shard.holder_id)
                .where(Job.kind == "help", Shard.ended_at.is_(None))
                .limit(1)
            )

    workers.until(lambda: held() is not None, "a helper's shard", PATIENCE_S)
    pid = int((held() or "").rpartition("-")[2])
    (victim,) = [worker for worker in started if worker.process.pid == pid]
    os.kill(victim.process.pid, signal.SIGKILL)


def _count_seen(database: Database) -> int:
    with database.reader() as session:
        return len(job_workers.listed(session))


def _read(database: Database, job_id: int) -> Sampled:
    digest = hashlib.sha256()
    query = select(Completion, Prompt.content_hash).join(Prompt, Prompt.id == Completion.prompt_id)
    with database.reader() as session:
        for row, prompt in session.execute(
            query.order_by(Prompt.content_hash, Completion.sample_index)
        ):
            values = [prompt, row.sample_index, row.text, row.token_ids, row.logprob_sum]
            digest.update(json.dumps(values).encode())
        shards = session.scalars(select(Shard).where(Shard.job_id == job_id)).all()
        helped = [shard.started_at for shard in shards if shard.holder_id != job_id]
        start_s = 0.0
        begin = session.scalars(select(func.min(Completion.created_at))).one()
        if helped:
            joined = min(moment for moment in helped if moment is not None)
            start_s = (
                joined - min(one.started_at for one in shards if one.started_at)
            ).total_seconds()
            begin = joined
        written = select(
            func.count(Completion.prompt_id.distinct()), func.max(Completion.created_at)
        )
        prompts, end = session.execute(written.where(Completion.created_at > begin)).one()
    names = sorted({shard.worker for shard in shards})
    return Sampled(
        digest.hexdigest(),
        (end - begin).total_seconds() / prompts,
        start_s,
        tuple(sum(shard.worker == name for shard in shards) for name in names),
        sum(shard.claims > 1 for shard in shards),
    )
