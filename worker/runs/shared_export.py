"""The lines of a large export, written by all workers that are free.

The first pages are written here, which says how fast it goes. If enough is left, the rest is cut by
the ids of comparisons; each shard is a folder of lines with its account, published like any result.
The lines are joined in order, so that the file is the same bytes whoever wrote them. If no other
worker is free, a second process of the same job may write parts (see `paired_export`).
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Any, Final

from app.formats.training_rows import DatasetPrompt
from app.models import Shard
from app.services.datasets import export_rows, preferences
from app.services.datasets.export_rows import Account
from app.services.datasets.judged_comparisons import ExportOptions, JudgedComparison
from app.services.datasets.read_pace import ReadPace
from app.services.jobs import shards
from app.services.jobs.shards import HeldShard, Part, ShardProgress
from worker.runs import export_part, judged_pages, paired_export
from worker.runs.process import shard_work, transactions
from worker.runs.process.job_context import JobContext
from worker.runs.process.shard_work import Do

KIND: Final = "export"
CHUNK: Final = preferences.PAGE  # comparisons

Rest = Callable[[Account, ReadPace], Iterator[bytes]]


@dataclass(slots=True)
class Sharing:
    """An export, the rest of which several processes may write."""

    context: JobContext
    project_id: int
    format: str
    options: ExportOptions
    _left: int | None = field(default=None, init=False)
    _rest: Rest | None = field(default=None, init=False)

    def lines(
        self, account: Account, shown: Iterable[tuple[DatasetPrompt, str]], pace: ReadPace
    ) -> Iterator[bytes]:
        """Yield the lines of the export, and account for them."""
        head = self._comparisons(account, pace)
        yield from export_rows.write(head, self.format, self.options, account, shown=shown)
        if self._rest is not None:
            yield from self._rest(account, pace)

    def discard(self) -> None:
        """Delete the parts, once they are in the file; those of earlier attempts, too."""
        with self.context.database.reader() as session:
            results = [shard.result for shard in shards.of_job(session, self.context.job_id)]
        for result in results:
            if "uri" in result:
                self.context.store.remove(result["uri"])

    @property
    def _what(self) -> dict[str, Any]:
        return {
            "kind": KIND,
            "project_id": self.project_id,
            "format": self.format,
            "options": self.options.to_json(),
        }

    @property
    def _work(self) -> str:
        # Comparisons may have been judged since an earlier attempt: it shares its parts anew.
        attempt = {"attempt": self.context.lease_token}
        return shard_work.name_of(KIND, self._what | attempt)

    def _comparisons(self, account: Account, pace: ReadPace) -> Iterator[JudgedComparison]:
        # Demonstrations are told apart by all those before them.
        may_share = self.format not in export_rows.DEMONSTRATIONS
        yield from judged_pages.stream(
            *(self.context.database, self.project_id, self.format, self.options, account),
            pace=pace,
            page_end=self._consider if may_share else lambda *_page: False,
        )

    def _consider(self, after: int, count: int, took_s: float) -> bool:
        """Share what is left after a page, if that pays."""
        is_first = self._left is None
        if self._left is None:
            with self.context.database.reader() as session:
                self._left = preferences.count_after(session, self.project_id, after)
        else:
            self._left = max(self._left - count, 0)
        chunk_s = CHUNK * took_s / max(count, 1)
        sizes = shard_work.sizes(self.context, math.ceil(self._left / CHUNK), chunk_s, 0.0)
        if sizes is None:
            # The first page says nothing about how many comparisons one may have.
            return not is_first and self._pair(after, count, took_s)
        every = sizes.chunks * CHUNK
        bounds, what = self._bounds(after, every), self._what
        parts = [
            Part(every, {**what, "after": begin, "until": end}) for begin, end in pairwise(bounds)
        ]
        self.context.say(f"{len(parts)} shards of {every} comparisons, {sizes.workers} workers")
        with transactions.transaction(self.context) as session:
            shards.drop_open(session, self.context.job_id)  # of an earlier attempt
        shard_work.share(self.context, self._work, parts, sizes.workers)
        self._rest = self._joined
        return True

    def _pair(self, after: int, count: int, took_s: float) -> bool:
        """Let a second process of this job write parts of what is left, if that pays."""
        if not paired_export.pays(self.context.database, self._left or 0, took_s / count):
            return False
        bounds = self._bounds(after, paired_export.PAGES * count)
        if len(bounds) < 3:  # a single part is the job's own
            return False
        self.context.say(f"{len(bounds) - 1} parts, two processes")
        self._rest = partial(paired_export.lines, self.context, self._what, bounds)
        return True

    def _bounds(self, after: int, every: int) -> list[int | None]:
        with self.context.database.reader() as session:
            ends = preferences.every_nth(session, self.project_id, after, every)
        return [after, *ends, None]

    def _joined(self, account: Account, _pace: ReadPace) -> Iterator[bytes]:
        """Yield the lines of the shards in order, once all have ended."""
        do = open_help(self.context)

        def report(progress: ShardProgress) -> None:
            note = f"{progress.ended} of {progress.shards} parts{progress.by_workers}"
            self.context.report(progress.rows_ended, progress.rows, note)

        shard_work.complete(self.context, self._work, do, report)
        for shard in self._shards():
            folder = self.context.fetch(shard.result["uri"], shard.result["sha256"])
            yield from export_part.lines(folder, account)

    def _shards(self) -> list[Shard]:
        with self.context.database.reader() as session:
            return shards.of_work(session, self.context.job_id, self._work)


def open_help(context: JobContext) -> Do:
    """Return what writes shards of exports."""

    def go_on(_after: int, _count: int, _seconds: float) -> bool:
        shard_work.obey(context)
        return False

    def do(held: HeldShard) -> Mapping[str, Any]:
        folder = context.workdir / f"part-{held.id}"
        written = export_part.write(context.database, folder, held.payload, page_end=go_on)
        published = context.publish(folder, f"export-parts/{held.id}")
        return {"uri": published.uri, "sha256": published.sha256, "lines": written}

    return do
