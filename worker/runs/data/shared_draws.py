"""Completions of many prompts, sampled by all workers that are free.

The first chunk of prompts is sampled here, which says how fast it goes. If enough is left, the rest
is cut into shards. Each completion has the random numbers of its own row, and the shards begin
where chunks begin, so that the completions are the same bytes whoever samples them. Afterwards all
rows are read as if this job had sampled them before.
"""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from sqlalchemy import select

from app.domain import json_dataclasses
from app.domain.chat_settings import ChatSettings
from app.domain.instruction_text import InstructionText
from app.domain.plan import Sampling
from app.models import Checkpoint, Completion, Prompt
from app.services.jobs.shards import HeldShard, Part, ShardProgress
from worker.runs.data import checkpoint_weights, sampled_completions
from worker.runs.data.sampled_completions import Answering, Draw
from worker.runs.process import shard_work
from worker.runs.process.job_context import JobContext
from worker.runs.process.shard_work import Do

KIND: Final = "draw"
_MODEL: Final = ("checkpoint_id", "four_bit", "chat", "instruction")


def draw(
    context: JobContext,
    answering: Answering,
    prompts: Sequence[Prompt],
    wanted: Draw,
) -> Iterator[list[Completion]]:
    """Yield the completions of each chunk of prompts, in order, like `sampled_completions.draw`.

    Raises:
        Interrupted: the job was asked to stop while it shared its work.
    """
    if answering.access is not None:  # the server shares its own work
        yield from sampled_completions.draw(context, answering, prompts, wanted)
        return
    sharing = _Sharing(context, answering, prompts, wanted)
    sharing.resume()
    chunks = sampled_completions.draw(context, answering, prompts, wanted)
    done = 0
    while True:
        began = time.monotonic()
        rows = next(chunks, None)
        if rows is None:
            return
        took_s = time.monotonic() - began
        yield rows
        done += sampled_completions.CHUNK_PROMPTS
        sharing.consider(done, took_s)


def open_help(context: JobContext) -> Do:
    """Return what samples the shards of other jobs; it keeps the model of the last one."""
    return _Helper(context).do


@dataclass(slots=True)
class _Sharing:
    """The completions that one model has to sample, and whether they are shared yet."""

    context: JobContext
    answering: Answering
    prompts: Sequence[Prompt]
    wanted: Draw
    is_shared: bool = False

    @property
    def what(self) -> dict[str, Any]:
        """What a shard needs beside its prompts."""
        answering, wanted = self.answering, self.wanted
        return {
            "kind": KIND,
            "checkpoint_id": answering.checkpoint.id,
            "four_bit": answering.four_bit,
            "chat": None if answering.chat is None else answering.chat.to_json(),
            "instruction": asdict(answering.instruction),
            "sampling": asdict(wanted.settings),
            "seed": wanted.seed,
            "count": wanted.count,
            "start": wanted.start,
        }

    @property
    def work(self) -> str:
        """The name of the work."""
        return shard_work.name_of(KIND, self.what)

    def consider(self, done: int, chunk_s: float) -> None:
        """Share what is left after `done` prompts, if that pays."""
        if self.is_shared:
            return
        chunks = math.ceil((len(self.prompts) - done) / sampled_completions.CHUNK_PROMPTS)
        sizes = shard_work.sizes(self.context, chunks, chunk_s, self.answering.load_s)
        if sizes is None:
            return
        rows = sizes.chunks * sampled_completions.CHUNK_PROMPTS
        what = self.what
        parts = [
            Part(len(some), {**what, "prompts": [prompt.id for prompt in some]})
            for at in range(done, len(self.prompts), rows)
            if (some := self.prompts[at : at + rows])
        ]
        self.context.say(f"{len(parts)} shards of up to {rows} prompts for {sizes.workers} workers")
        shard_work.share(self.context, self.work, parts, sizes.workers)
        self.is_shared = True
        self.complete()

    def resume(self) -> None:
        """Complete what an earlier attempt shared, which was all that was left."""
        shard_work.resume(self.context, self.work)
        self.is_shared = self.complete().shards > 0

    def complete(self) -> ShardProgress:
        """Do the shards that are free, until all have ended; return what they come to."""
        by_id = {prompt.id: prompt for prompt in self.prompts}

        def do(held: HeldShard) -> Mapping[str, Any]:
            chosen = [by_id[key] for key in held.payload["prompts"]]
            return _sample(self.context, self.answering, chosen, self.wanted)

        def report(progress: ShardProgress) -> None:
            outside = len(self.prompts) - progress.rows
            note = f"responses of {self.answering.checkpoint.name}{progress.by_workers}"
            self.context.report(outside + progress.rows_ended, len(self.prompts), note)

        return shard_work.complete(self.context, self.work, do, report)


class _Helper:
    """Samples shards of another job."""

    def __init__(self, context: JobContext) -> None:
        self._context = context
        self._loaded: Mapping[str, Any] = {}
        self._answering: Answering | None = None

    def do(self, held: HeldShard) -> Mapping[str, Any]:
        """Sample the completions of a shard's prompts."""
        payload = dict(held.payload)
        ids: list[int] = payload.pop("prompts")
        settings = json_dataclasses.read(Sampling, payload["sampling"], "sampling")
        wanted = Draw(settings, payload["seed"], payload["count"], payload["start"])
        with self._context.database.reader() as session:
            rows = session.scalars(select(Prompt).where(Prompt.id.in_(ids)))
            by_id = {row.id: row for row in rows}
        return _sample(self._context, self._model(payload), [by_id[key] for key in ids], wanted)

    def _model(self, payload: Mapping[str, Any]) -> Answering:
        model = {name: payload[name] for name in _MODEL}
        if self._answering is None or model != self._loaded:
            self._answering = None  # its memory, before the next one takes its own
            self._answering, self._loaded = _load(self._context, model), model
        return self._answering


def _load(context: JobContext, model: Mapping[str, Any]) -> Answering:
    with context.database.reader() as session:
        checkpoint = session.get_one(Checkpoint, model["checkpoint_id"])
    return checkpoint_weights.answering(
        context,
        checkpoint,
        InstructionText(**model["instruction"]),
        four_bit=model["four_bit"],
        chat=None if model["chat"] is None else ChatSettings.from_json(model["chat"]),
    )


def _sample(
    context: JobContext, answering: Answering, prompts: Sequence[Prompt], wanted: Draw
) -> Mapping[str, Any]:
    """Sample what is missing of a shard, chunk by chunk."""
    count = 0
    for rows in sampled_completions.draw(context, answering, prompts, wanted):
        count += len(rows)
        shard_work.obey(context)
    return {"completions": count}
