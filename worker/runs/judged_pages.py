"""Judged comparisons of a project page by page, each page in a short session of its own."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from app.db import Database
from app.formats.manifest import Counts
from app.services.datasets import export_options, preferences
from app.services.datasets.export_rows import Account
from app.services.datasets.judged_comparisons import ExportOptions, JudgedComparison, JudgedPage
from app.services.datasets.read_pace import ReadPace

PageEnd = Callable[[int, int, float], bool]
"""Is told the last id of a page, how many comparisons it had and what they took in seconds, their
rows included; returns whether to stop there."""


@dataclass(frozen=True, slots=True)
class Ids:
    """A range of comparisons: those after one id, up to and with another if one is given."""

    after: int = 0
    until: int | None = None


def stream(
    database: Database,
    project_id: int,
    format: str,
    options: ExportOptions,
    account: Account,
    *,
    ids: Ids | None = None,
    pace: ReadPace | None = None,
    page_end: PageEnd = lambda _after, _count, _seconds: False,
) -> Iterator[JudgedComparison]:
    """Yield the comparisons that the options ask for; those of a range count nothing outside it.

    A thread reads the next page while the rows of one are made: it mostly waits for the database.
    """
    if ids is None:
        with database.long_reader() as session:
            preferences.count_outside(session, project_id, options, account.counts)
    until = None if ids is None else ids.until
    pace = pace or ReadPace()
    details = export_options.details(format)

    def read(after: int, limit: int) -> tuple[JudgedPage, Counts]:
        counts = Counts()  # those of the account change meanwhile
        pace.rest()
        with database.long_reader() as session:
            pace.start(session)
            page = preferences.read_page(
                *(session, project_id, options, counts),
                after=after,
                until=until,
                limit=limit,
                details=details,
            )
        pace.end()
        return page, counts

    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="read-ahead") as thread:
        limit = preferences.FIRST_PAGE
        coming: Future[tuple[JudgedPage, Counts]] | None
        coming = thread.submit(read, 0 if ids is None else ids.after, limit)
        while coming is not None:
            began = time.monotonic()
            page, counts = coming.result()
            coming = None
            if page.after is not None:
                limit = preferences.next_limit(page, limit, most=pace.most)
                coming = thread.submit(read, page.after, limit)
            account.counts.add(counts)
            yield from page.rows
            count, took_s = counts.comparisons.considered, time.monotonic() - began
            if page.after is not None and page_end(page.after, count, took_s):
                return
