"""Helps another job: takes shards of its work until none is free.

What a shard is, its own module knows; it is loaded once there is a shard, because some helpers come
too late to find one.
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Final

from app.errors import Invalid
from app.services.jobs import job_helpers
from worker.runs.process import making_room, shard_work
from worker.runs.process.job_context import JobContext
from worker.runs.process.shard_work import Do

KINDS: Final[Mapping[str, str]] = {
    "draw": "worker.runs.data.shared_draws",
    "export": "worker.runs.shared_export",
    "score": "worker.runs.score",
}
"""The modules that do shards, by what their payloads say; each has `open_help`."""


def run(context: JobContext) -> None:
    """Take shards of the job that the payload names."""
    with context.database.reader() as session:
        misfit = job_helpers.misfit(session, context.job_id)
    if misfit:
        context.say(misfit)
        context.succeed(lambda _session: {"shards": 0, "rows": 0, "remarks": [misfit]})
        return
    job_id = int(context.payload["job_id"])
    opened: dict[str, Do] = {}
    ended = rows = 0
    while (held := shard_work.take(context, job_id)) is not None:
        kind = str(held.payload["kind"])
        if kind not in opened:
            opened.clear()  # what other shards needed in memory
            opened[kind] = _opener(kind)(context)
        context.report(rows, 0, f"part {held.n} of job {job_id}")
        shard_work.finish(context, held, opened[kind](held))
        ended, rows = ended + 1, rows + held.rows
        shard_work.obey(context)
        making_room.make_room(context)
    context.succeed(lambda _session: {"shards": ended, "rows": rows})


def _opener(kind: str) -> Callable[[JobContext], Do]:
    if kind not in KINDS:
        raise Invalid(f"a shard's kind must be one of {', '.join(KINDS)}, not {kind!r}")
    opener: Callable[[JobContext], Do] = import_module(KINDS[kind]).open_help
    return opener
